"""Says whose partner key the request carried."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{environ.get('REMOTE_USER')}, by {environ.get('AUTH_TYPE')}\n".encode()]
