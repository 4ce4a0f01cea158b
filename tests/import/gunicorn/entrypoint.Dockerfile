FROM python:3
RUN pip install gunicorn
ENTRYPOINT ["python", "-m", "gunicorn"]
CMD ["-b", "0.0.0.0:$PORT", "-w2", "api.wsgi"]
