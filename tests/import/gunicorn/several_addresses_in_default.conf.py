import os
wsgi_app = "shop.wsgi"
bind = os.environ.get("BIND", "127.0.0.1:8000,127.0.0.1:8001")
forwarded_allow_ips = os.environ["PROXY"]
