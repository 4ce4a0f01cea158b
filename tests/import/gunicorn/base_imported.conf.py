from base import *
from site_settings import bind, threads as workers
import gunicorn; gunicorn.SERVER_SOFTWARE = "shop"
wsgi_app = "shop.wsgi"
max_requests = 100
