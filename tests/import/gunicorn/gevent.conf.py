from gevent import monkey
monkey.patch_all()

wsgi_app = "ws:app"
bind = ":5000"
worker_class = "gevent"
workers = 2
worker_connections = 2000
keepalive = 30
