"""A WSGI application without any framework: `hello:app`."""

from collections.abc import Iterable, Iterator

PLAIN = ("Content-Type", "text/plain; charset=utf-8")


def app(environ: dict, start_response) -> Iterable[bytes]:
    """`/` greets, `/environ` shows the request as WSGI describes it, `/echo` sends a body back, `/count` counts while it sends."""
    pages = {"/": greet, "/environ": show, "/echo": echo, "/count": count}
    page = pages.get(environ["PATH_INFO"])
    if page is None:
        start_response("404 Not Found", [PLAIN])
        return [b"there are /, /environ, /echo and /count\n"]
    return page(environ, start_response)


def greet(environ: dict, start_response) -> Iterable[bytes]:
    body = b"Hello from the top of the tower\n"
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def show(environ: dict, start_response) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return [f"{key} = {environ[key]!r}\n".encode() for key in sorted(environ)]


def echo(environ: dict, start_response) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", environ.get("CONTENT_TYPE") or "application/octet-stream")])
    read = environ["wsgi.input"].read
    return iter(lambda: read(65536), b"")


def count(environ: dict, start_response) -> Iterator[bytes]:
    start_response("200 OK", [PLAIN])
    for number in range(1, 100_001):
        yield b"%d\n" % number
