"""Reads the request's body in pieces of 64 KiB and answers with its SHA-256."""

import hashlib


def app(environ, start_response):
    digest = hashlib.sha256()
    body = environ["wsgi.input"]
    while piece := body.read(65536):
        digest.update(piece)
    answer = digest.hexdigest().encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
