"""The API of the site: a plain WSGI application."""

import json


def app(environ, start_response):
    if environ["PATH_INFO"] != "/api/hello":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such path\n"]
    body = json.dumps({"hello": environ["QUERY_STRING"] or "world"}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
