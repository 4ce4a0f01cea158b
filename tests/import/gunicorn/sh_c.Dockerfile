FROM python:3
CMD ["sh", "-c", "python manage.py collectstatic --noinput; gunicorn --workers $(nproc) --bind 0.0.0.0:${PORT:-8000} shop.wsgi"]
