FROM python:3.12
CMD set -e; \
    python manage.py migrate; \
    if [ "$DEV" ]; then gunicorn --reload dev:app; elif [ "$BIG" ]; then gunicorn -w 9 shop.wsgi; else gunicorn -w 2 shop.wsgi; fi
