"""What front servers say, as a WSGI app sees it. `wsgiref.validate` checks the server meanwhile."""
import hashlib
import json
import os
from wsgiref.validate import validator

NAMES = """REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_PROTOCOL REMOTE_ADDR REMOTE_USER AUTH_TYPE HTTP_HOST
CONTENT_TYPE CONTENT_LENGTH HTTP_X_FOO HTTP_PROXY UWSGI_FILE SERVER_PORT HTTPS wsgi.url_scheme""".split()


def note():
    with open(os.environ["ZIGGURAT_TEST_CLOSED"], "a") as file:
        file.write("closed\n")


def stream(environ):
    try:
        yield b"first\n"
        while True:
            yield b"x" * 1000
    finally:
        note()


def broken():
    yield b"begins"
    raise RuntimeError("breaks off")


def site(environ, start_response):
    # mod_proxy_scgi of Apache does not split the path.
    path = environ["PATH_INFO"].removeprefix("/scgi")
    kind = [("Content-Type", "text/plain")]
    if path == "/upload":
        digest, length = hashlib.sha256(), 0
        while piece := environ["wsgi.input"].read(65536):
            digest.update(piece)
            length += len(piece)
        start_response("200 OK", kind)
        return [f"{length} {digest.hexdigest()}".encode()]
    if path == "/download":
        start_response("200 OK", kind)
        return (b"0123456789" * 1000 for _ in range(1000))
    if path == "/stream":
        start_response("200 OK", kind)
        return stream(environ)
    if path == "/broken":
        start_response("200 OK", kind)
        return broken()
    if path == "/names":
        start_response("200 OK", kind)
        return [repr(sorted(environ)).encode()]
    if path == "/note":
        note()
        start_response("200 OK", kind)
        return [b"noted"]
    if path == "/raise":
        raise RuntimeError("before the response")
    if path == "/304":
        start_response("304 Not Modified", [("ETag", '"1"')])
        return []
    if path == "/cookies":
        start_response("404 Not Found", [*kind, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"two cookies"]
    body = json.dumps({name: environ[name] for name in NAMES if name in environ}).encode()
    start_response("200 OK", [*kind, ("Content-Length", str(len(body)))])
    return [body]


app = validator(site)
plain = site
