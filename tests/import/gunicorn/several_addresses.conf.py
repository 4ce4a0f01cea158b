wsgi_app = "a:app"
bind = ["127.0.0.1:8000", "[::1]:8000", "unix:run/a.sock", "fd://3", "localhost"]
workers = 1
forwarded_allow_ips = "10.0.0.0/8,192.168.1.4"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
