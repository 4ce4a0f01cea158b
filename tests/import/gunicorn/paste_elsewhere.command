gunicorn --paste /etc/site/production.ini
