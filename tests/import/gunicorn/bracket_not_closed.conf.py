wsgi_app = "shop.wsgi"
bind = ["0.0.0.0:80",
workers = 3
