FROM python:3.12
ENTRYPOINT ["tini", "--", "su-exec", "app"]
CMD ["python", "-m", "gunicorn.app.wsgiapp", "-w", "2", "shop.wsgi"]
