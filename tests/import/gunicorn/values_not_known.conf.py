import os
wsgi_app = "app:app"
s = os.getenv("WEB_CONCURRENCY", None)
if s:
    n = int(s)
else:
    n = 4
workers = n
bind = env("BIND", "0.0.0.0:9000")
threads = env.int("THREADS", 8)
max_requests = int(os.environ.get("MAX_REQUESTS", 0))
max_requests_jitter = 50
