"""Waits 10 ms, as an application that waits for its database does."""

import time

BODY = b"Hello, world!"


def app(environ, start_response):
    time.sleep(0.010)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]
