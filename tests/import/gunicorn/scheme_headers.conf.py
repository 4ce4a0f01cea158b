wsgi_app = "echo:app"
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-SCHEME": "https"}
