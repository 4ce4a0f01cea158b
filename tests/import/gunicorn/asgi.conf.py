wsgi_app = "main:app"
worker_class = "uvicorn.workers.UvicornWorker"
