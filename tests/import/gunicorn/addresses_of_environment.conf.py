import os
wsgi_app = "shop.wsgi"
bind = [
    os.environ.get("BIND", "127.0.0.1:8005"),
    os.environ["SOCKET"],
    os.environ.get("HOST", "0.0.0.0") + ":" + os.environ.get("PORT", "8000"),
    f"{os.environ.get('HOST', '')}:{os.getenv('OTHER_PORT', 8001)}",
    os.environ["HOST"] + ":8002",
    "unix:" + os.environ.get("WITH_DEFAULT", "run/site.sock"),
]
forwarded_allow_ips = os.environ.get("PROXY", "10.0.0.1")
workers = int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count())
threads = int(os.environ.get("THREADS", "many"))
graceful_timeout = int(os.environ.get("GRACE", "20"))
