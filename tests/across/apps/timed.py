"""A layer and an app that take their time, before and within the response."""

import time


class Slow:
    """Takes 40 ms before the app, and 20 ms for each chunk."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        time.sleep(0.04)
        chunks = self.app(environ, start_response)

        def slowed():
            try:
                for chunk in chunks:
                    time.sleep(0.02)
                    yield chunk
            finally:
                getattr(chunks, "close", lambda: None)()

        return slowed()


def app(environ, start_response):
    """Takes 80 ms, and for two chunks 30 ms each."""
    time.sleep(0.08)
    start_response("200 OK", [("Content-Type", "text/plain")])

    def chunks():
        for _ in range(2):
            time.sleep(0.03)
            yield b"x" * 70_000

    return chunks()


def whole(environ, start_response):
    """Takes 80 ms."""
    time.sleep(0.08)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"whole"]


def file(environ, start_response):
    """Takes 80 ms, and answers with this file."""
    time.sleep(0.08)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def failing(environ, start_response):
    """Takes 80 ms, and has no answer."""
    time.sleep(0.08)
    raise LookupError
