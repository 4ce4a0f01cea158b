import ssl
wsgi_app = "pay.wsgi:app"
bind = "0.0.0.0:8443"
certfile = "/etc/ssl/pay.crt"
keyfile = "/etc/ssl/pay.key"
ca_certs = "/etc/ssl/clients.pem"
cert_reqs = ssl.CERT_REQUIRED
ssl_version = "TLSv1_2"
ciphers = "ECDHE+AESGCM"
do_handshake_on_connect = True
