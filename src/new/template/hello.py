"""The app below the layers: this one, or any other WSGI application."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"Hello from the app\n"]
