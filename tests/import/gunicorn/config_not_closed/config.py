workers = 3
bind = (":80"]
