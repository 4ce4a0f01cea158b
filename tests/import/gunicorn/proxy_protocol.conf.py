wsgi_app = "a:app"
bind = "0.0.0.0:8000"
proxy_protocol = True
proxy_allow_ips = "10.0.0.7,10.0.0.8"
forwarded_allow_ips = "*"
