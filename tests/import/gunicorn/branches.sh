#!/bin/bash
set -e
mkdir -p /var/log/gunicorn
if [ -n "$DEV" ]; then
  gunicorn --reload dev:app
else
  exec gunicorn -w 4 shop.wsgi -b 0.0.0.0:8000 "$@"
fi
