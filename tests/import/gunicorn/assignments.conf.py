wsgi_app = "shop.wsgi"
host, port = "0.0.0.0", 9000
bind = f"{host}:{port}"
workers, threads = 2, 4
workers += 1
workers *= 2
timeout = graceful_timeout = 20
keepalive = 7
del keepalive
raw_env = ["A=1"]
raw_env += ["B=2"]
exec(open("more.py").read())
