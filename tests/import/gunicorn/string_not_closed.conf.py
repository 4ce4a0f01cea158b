wsgi_app = "shop.wsgi"
workers = 3
bind = "0.0.0.0:80
