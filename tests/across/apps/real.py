"""Middleware of others, as they are: where a layer of the file can name one it does, and here are those that want more than JSON."""

import io
import json
import logging
import traceback
import warnings
from pathlib import Path

# The app.

PAGE = b"<html><head><title>page</title></head><body>" + b"<p>words and words</p>" * 2000 + b"</body></html>"


def about(environ, start_response):
    keys = ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_USER", "HTTP_HOST", "wsgi.url_scheme", "HTTP_X_STAMP"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: environ.get(key) for key in keys}).encode()]


def forwarded(environ, start_response):
    keys = ["REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: environ.get(key) for key in keys}).encode()]


def html(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (f"line {number}\n".encode() for number in range(50))


def echo(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    start_response("200 OK", [("Content-Type", environ.get("CONTENT_TYPE") or "text/plain")])
    return [body]


def fails(environ, start_response):
    raise ValueError("on purpose")


def fails_midway(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def answer():
        yield b"begun"
        raise ValueError("midway")

    return answer()


def missing(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"the app's own words"]


def error_page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<h1>a page about an error</h1>"]


def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


def forward(environ, start_response):
    from paste.recursive import ForwardRequestException

    raise ForwardRequestException("/about")


def include(environ, start_response):
    included = environ["paste.recursive.include_app_iter"]("/html")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [included.status.encode(), b" ", str(len(b"".join(included.app_iter))).encode()]


def session(environ, start_response):
    session = environ["beaker.session"]
    session["count"] = session.get("count", 0) + 1
    session.save()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session["count"]).encode()]


PATHS = {function.__name__: function for function in [
    about, forwarded, html, stream, echo, fails, fails_midway, missing, error_page, nothing, forward, include, session,
]}  # fmt: skip


def app(environ, start_response):
    return PATHS.get(environ["PATH_INFO"].strip("/"), about)(environ, start_response)


# Middleware.


def dispatcher(app):
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return DispatcherMiddleware(app, {"/admin": about, "/admin/deep": echo})


def strict(app):
    """What Werkzeug's linter warns of is an error."""
    from werkzeug.middleware.lint import HTTPWarning, LintMiddleware, WSGIWarning

    warnings.simplefilter("error", WSGIWarning)
    warnings.simplefilter("error", HTTPWarning)
    return LintMiddleware(app)


def profiler(app):
    from werkzeug.middleware.profiler import ProfilerMiddleware

    def profiled(environ, start_response):
        out = io.StringIO()
        answer = ProfilerMiddleware(app, stream=out)(environ, start_response)
        assert "function calls" in out.getvalue(), out.getvalue()
        return answer

    return profiled


def shared(app):
    from werkzeug.middleware.shared_data import SharedDataMiddleware

    return SharedDataMiddleware(app, {"/shared": str(Path(__file__).parent / "files")})


def white_noise(app):
    from whitenoise import WhiteNoise

    return WhiteNoise(app, root=str(Path(__file__).parent / "files"), prefix="assets/", max_age=60)


def sentry(app):
    import sentry_sdk
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
    from sentry_sdk.transport import Transport

    events = []

    class Memory(Transport):
        def capture_envelope(self, envelope):
            event = envelope.get_event()
            if event is None:
                return
            values = event["exception"]["values"]
            frame = values[-1]["stacktrace"]["frames"][-1]["function"]
            events.append([values[-1]["type"], values[-1]["value"], frame, event["request"]["url"], event["request"]["method"]])

    options = {"default_integrations": False, "auto_enabling_integrations": False, "transport": Memory}
    sentry_sdk.init("https://public@sentry.invalid/1", **options)
    watched = SentryWsgiMiddleware(app)

    def reported(environ, start_response):
        if environ["PATH_INFO"] == "/_captured":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(events).encode()]
        return watched(environ, start_response)

    return reported


def translogger(app):
    from paste.translogger import TransLogger

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.Logger("real")
    logger.addHandler(handler)
    format = '"%(REQUEST_METHOD)s %(REQUEST_URI)s" %(status)s %(bytes)s'
    logged = TransLogger(app, logger=logger, format=format)

    def told(environ, start_response):
        if environ["PATH_INFO"] == "/_logged":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(lines).encode()]
        return logged(environ, start_response)

    return told


def error_documents(app):
    from paste.errordocument import forward
    from paste.recursive import RecursiveMiddleware

    return RecursiveMiddleware(forward(app, codes={404: "/error_page"}))


def recursive(app):
    from paste.recursive import RecursiveMiddleware

    return RecursiveMiddleware(app)


def error_catcher(app):
    from paste.exceptions.errormiddleware import ErrorMiddleware

    return ErrorMiddleware(app, debug=True, show_exceptions_in_wsgi_errors=False)


def stamp(app):
    """A filter as WebOb has it: a function of a request and the app."""
    from webob.dec import wsgify

    @wsgify.middleware
    def stamped(request, app, word):
        request.headers["X-Stamp"] = word
        response = request.get_response(app)
        response.headers["X-Stamped"] = word
        if response.content_type == "text/html":
            response.body = response.body.replace(b"</body>", b"<!-- stamped --></body>")
        return response

    return stamped(app, word="stamp")


def sessions(app):
    from beaker.middleware import SessionMiddleware

    return SessionMiddleware(app, {"session.type": "memory", "session.cookie_expires": True, "session.key": "sid"})


def last_resort(app):
    """What servers make of an exception: all of them differ, so the last layer says it."""

    def caught(environ, start_response):
        try:
            return app(environ, start_response)
        except ValueError as error:
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [f"{error!r} in {names[-1]}".encode()]

    return caught
