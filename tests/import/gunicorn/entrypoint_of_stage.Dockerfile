FROM python:3.12 AS base
CMD ["gunicorn", "base:app"]
FROM --platform=linux/amd64 base
ENTRYPOINT ["gunicorn", "shop.wsgi"]
