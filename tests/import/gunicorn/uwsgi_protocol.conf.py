wsgi_app = "a:app"
protocol = "uwsgi"
bind = "0.0.0.0:3031"
uwsgi_allow_ips = "10.0.0.4"
control_socket_disable = True
http_protocols = "h1"
