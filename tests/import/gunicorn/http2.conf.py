wsgi_app = "a:app"
threads = 4
http_protocols = "h2,h1"
http2_max_concurrent_streams = 200
proxy_protocol = "off"
dirty_workers = 2
