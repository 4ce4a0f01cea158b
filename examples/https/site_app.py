"""Tells what an app knows about the connection."""

KNOWN = ("wsgi.url_scheme", "SERVER_PROTOCOL", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI", "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "REMOTE_USER")


def app(environ, start_response):
    lines = [f"{name} = {environ[name]}\n" for name in KNOWN if name in environ]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(lines).encode()]
