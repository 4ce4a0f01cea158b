#!/bin/sh
NAME="shop"
SOCKFILE=/srv/$NAME/run/gunicorn.sock
WORKERS=3
LOG_LEVEL=${LOG_LEVEL:-info}
if [ "$1" = dev ]; then THREADS=1; fi
test -d /srv/gunicorn || mkdir /srv/gunicorn
case "$1" in
  dev)
    gunicorn --reload dev:app
    exit ;;
  worker) exec celery -A shop worker ;;
esac
exec gosu app tini -- python3 -u -m gunicorn.app.wsgiapp ${NAME}.wsgi:application \
  --name $NAME \
  --workers $WORKERS \
  --bind=unix:$SOCKFILE \
  --log-level=$LOG_LEVEL
