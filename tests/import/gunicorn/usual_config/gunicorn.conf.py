bind = "127.0.0.1:5000"
workers = 3
accesslog = "-"
