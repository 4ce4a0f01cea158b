FROM python:3
CMD pip install gunicorn
