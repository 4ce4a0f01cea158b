#!/bin/sh
export UWSGI_HTTP_SOCKET=127.0.0.1:8000 UWSGI_PROCESSES=$(nproc)
UWSGI_THREADS=3 A=b exec uwsgi -w shop.wsgi
