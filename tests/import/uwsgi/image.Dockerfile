FROM python:3
ENV PYTHONUNBUFFERED=1
CMD ["uwsgi", "--http", "0.0.0.0:8000", "--module", "shop.wsgi:application", "--master"]
