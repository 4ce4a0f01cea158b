import os
wsgi_app = "app:app"
timeout = int(os.environ.get("TIMEOUT", 120))
