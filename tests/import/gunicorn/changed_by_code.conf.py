wsgi_app = "shop.wsgi"
bind = ":8000"
max_requests = 100
globals()["max_requests"] = 5
settings, bind = load()
