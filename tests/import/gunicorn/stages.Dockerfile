FROM python:3.12 AS web
ENV WEB_CONCURRENCY=5
ENTRYPOINT ["gunicorn", "shop.wsgi"]
CMD ["-w", "2"]

FROM python:3.12 AS docs
ENV FORWARDED_ALLOW_IPS=*
CMD ["gunicorn", "docs:app"]

FROM WEB AS production
CMD ["-b", "0.0.0.0:80"]
