workers = 8
bind = "0.0.0.0:9000"
timeout = 90
wsgi_app = "other.wsgi"
