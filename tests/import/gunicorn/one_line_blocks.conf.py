import os
wsgi_app = "shop.wsgi"; timeout = 10
workers = 2
if os.environ.get("BIG"): workers = 8; threads = 2
else: workers = 4
try: keepalive = 5
except ValueError: pass
while False: max_requests = 3
