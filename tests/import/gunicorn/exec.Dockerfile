FROM python:3.12-slim AS build
CMD ["gunicorn", "old:app"]

FROM python:3.12-slim
WORKDIR /app
ENV PYTHONUNBUFFERED=1 \
    GUNICORN_CMD_ARGS="--workers=3 --access-logfile=-"
COPY . .
EXPOSE 8000
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "--timeout", "120", \
     "app:create_app()"]
