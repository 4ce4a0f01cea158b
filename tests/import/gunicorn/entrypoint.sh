#!/bin/sh
set -e
# Wait for the database
python manage.py migrate --noinput
export DJANGO_DEBUG=0
exec gunicorn config.wsgi \
    --bind 0.0.0.0:8000 \
    --workers `nproc` \
    --worker-class eventlet \
    --env A=1 --env B="two words" \
    --name site "$@"
