import os
wsgi_app = "shop.wsgi"
bind = os.environ.get("A", "10.0.0.") + os.environ.get("B", "1")
forwarded_allow_ips = os.environ.get("FAI", "*")
proxy_protocol = True
proxy_allow_ips = os.environ.get("PAI", "10.0.0.1,10.0.0.2")
workers = os.environ.get("WITH_DEFAULT", "0")
