import os
wsgi_app = "a:app"
workers = 4
if os.environ.get("DEBUG"):
    reload = True
    workers = 1
else:
    preload_app = True
try:
    threads = 8
except Exception:
    pass
for name in ("bind",):
    print(name)
bind = find_address()
timeout = workers * 10
worker = 3
host, port = "a", 1
