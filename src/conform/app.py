"""The app of `ziggurat conform`. Serve it with the WSGI server under test, at the root of a port, and run the suite against that.

The callable is `application`. It needs the standard library alone. Notes of one process that another one must see are files `conform-*` in the temporary folder;
the suite has them removed. Run as a program, it serves itself with wsgiref: `python app.py [PORT]`.
"""

import io
import os
import re
import sys
import tempfile
import threading
import time

VERSION = "conform 1"
OK = "200 OK"


def application(*arguments, **keywords):
    if len(arguments) != 2 or keywords:
        raise TypeError("an application is called with two positional arguments")
    environ, start_response = arguments
    name, *words = environ.get("PATH_INFO", "").lstrip("/").split("/")
    if name not in ENDPOINTS:
        return text(start_response, "nothing here", "404 Not Found")
    return ENDPOINTS[name](environ, start_response, *words)


ENDPOINTS = {}


def endpoint(function):
    ENDPOINTS[function.__name__] = function
    return function


def plain(*more):
    """Headers in a list of their own: the server may change it."""
    return [("Content-Type", "text/plain"), *more]


def text(start_response, body, status=OK):
    body = body.encode("ascii", "backslashreplace")
    start_response(status, plain(("Content-Length", str(len(body)))))
    return [body]


# Notes: what one request leaves for another one.


def path_of(token):
    if not re.match("[0-9a-f]{32}$", token):
        raise ValueError("not a token")
    return os.path.join(tempfile.gettempdir(), "conform-" + token)


def note(token, word):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path_of(token), flags, 0o600)
    try:
        os.write(descriptor, word.encode("ascii", "replace") + b"\n")
    finally:
        os.close(descriptor)


def notes(token):
    try:
        with open(path_of(token)) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def wait_for(token, condition, seconds=2.0):
    """Waits until the notes are as wanted, at most so long: a server with one thread cannot take the request that changes them."""
    end = time.monotonic() + seconds
    while not condition(notes(token)) and time.monotonic() < end:
        time.sleep(0.01)


@endpoint
def version(environ, start_response):
    return text(start_response, VERSION)


@endpoint
def record(environ, start_response, token):
    return text(start_response, ",".join(notes(token)))


@endpoint
def leave(environ, start_response, token, word):
    note(token, word)
    return text(start_response, "left")


@endpoint
def forget(environ, start_response, token):
    try:
        os.remove(path_of(token))
    except FileNotFoundError:
        pass
    return text(start_response, "forgotten")


# environ


OF_CGI = ("CONTENT_", "HTTP_", "PATH_INFO", "QUERY_STRING", "REMOTE_", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_")


@endpoint
def environ(environ, start_response, *_):
    """Each variable of the request with its value: strings as their literals, the others by their type. Those of the process are nobody's business."""
    lines = []
    for key in sorted(key for key in environ if str(key).startswith(OF_CGI + ("wsgi.",))):
        value = environ[key]
        plain = isinstance(value, (str, bytes, bool, int, tuple))
        lines.append("%s %s" % (key, ascii(value) if plain else type(value).__name__))
    return text(start_response, "\n".join(lines))


@endpoint
def check(environ, start_response, rule):
    """What is wrong with the environ by one rule, or `ok`."""
    wrong = [line for line in CHECKS[rule](environ) if line]
    return text(start_response, "\n".join(wrong) or "ok")


def check_dict(environ):
    if type(environ) is not dict:
        yield "environ is of type %s" % type(environ).__name__


def check_strings(environ):
    for key, value in environ.items():
        if type(key) is not str:
            yield "the key %s is of type %s" % (ascii(key), type(key).__name__)
        elif key.startswith(OF_CGI):
            if type(value) is not str:
                yield "%s is of type %s" % (key, type(value).__name__)
            elif any(ord(c) > 255 for c in value):
                yield "%s has characters beyond latin-1: %s" % (key, ascii(value))


def check_required(environ):
    for key in ("REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"):
        if not environ.get(key):
            yield "%s is missing or empty" % key
    port = environ.get("SERVER_PORT", "")
    if not (isinstance(port, str) and port.isdigit()):
        yield "SERVER_PORT is %s" % ascii(port)


def check_wsgi(environ):
    for key in ("version", "url_scheme", "input", "errors", "multithread", "multiprocess", "run_once"):
        if "wsgi." + key not in environ:
            yield "wsgi.%s is missing" % key
    if environ.get("wsgi.version") != (1, 0) or type(environ.get("wsgi.version")) is not tuple:
        yield "wsgi.version is %s" % ascii(environ.get("wsgi.version"))


def check_flags(environ):
    for key in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"):
        if type(environ.get(key)) is not bool:
            yield "%s is %s" % (key, ascii(environ.get(key)))


def check_paths(environ):
    script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    if script.endswith("/"):
        yield "SCRIPT_NAME ends in a slash: %s" % ascii(script)
    if not path.startswith("/"):
        yield "PATH_INFO does not begin with a slash: %s" % ascii(path)
    if script + path != "/check/paths":
        yield "SCRIPT_NAME and PATH_INFO are %s and %s" % (ascii(script), ascii(path))


def check_fresh(environ):
    if "conform.mark" in environ:
        yield "environ has what the app wrote into an earlier one"
    environ["conform.mark"] = True


def check_address(environ):
    address = environ.get("REMOTE_ADDR", "")
    if not re.match(r"[0-9]+(\.[0-9]+){3}$|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$", address):
        yield "REMOTE_ADDR is %s" % ascii(address)


def check_input(environ):
    for name in ("read", "readline", "readlines", "__iter__"):
        if not hasattr(environ["wsgi.input"], name):
            yield "wsgi.input has no %s" % name


def check_errors(environ):
    errors = environ["wsgi.errors"]
    errors.write("conform: a line for the log\n")
    errors.writelines(["conform: two lines ", "in one\n"])
    errors.flush()
    return []


def check_errors_unicode(environ):
    environ["wsgi.errors"].write("conform: caf\u00e9 \u2603\n")
    environ["wsgi.errors"].flush()
    return []


CHECKS = {name[6:]: value for name, value in list(globals().items()) if name.startswith("check_")}


# wsgi.input


@endpoint
def read(environ, start_response, script):
    """Runs calls such as `read(3),readline()` and answers with what each gave."""
    stream, results = environ["wsgi.input"], []
    for name, argument in re.findall(r"([a-z]+)\(([0-9]*)\)", script):
        arguments = [int(argument)] if argument else []
        results.append(ascii(list(stream) if name == "iterate" else getattr(stream, name)(*arguments)))
    return text(start_response, "\n".join(results))


def whole_body(environ):
    """Reads as a careful app does: up to CONTENT_LENGTH, or to the end where the server says that it simulates one."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        left, pieces = int(length), []
        while left:
            piece = environ["wsgi.input"].read(min(left, 65536))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
    if environ.get("wsgi.input_terminated") or environ.get("HTTP_TRANSFER_ENCODING"):
        return environ["wsgi.input"].read()
    return b""


@endpoint
def echo(environ, start_response, *_):
    body = whole_body(environ)
    start_response(OK, [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


@endpoint
def digest(environ, start_response):
    body = whole_body(environ)
    return text(start_response, "%d %s" % (len(body), ascii(bytes(sorted(set(body))))))


@endpoint
def receive(environ, start_response, token):
    """Notes what an app believes of a body: that it is whole, or not."""
    try:
        body = whole_body(environ)
    except Exception as error:
        note(token, "failed")
        raise error
    length = environ.get("CONTENT_LENGTH")
    note(token, "cut" if length and len(body) < int(length) else "whole")
    return text(start_response, "received")


@endpoint
def called(environ, start_response, token):
    """Notes that a request has reached the app."""
    note(token, "called")
    return text(start_response, "called")


# start_response


@endpoint
def start(environ, start_response, case, token=""):
    return STARTS[case](environ, start_response, token)


def start_headers(environ, start_response, token):
    start_response("299 Most Unusual", plain(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "caf\u00e9"), ("X-Empty", "")))
    return [b"text"]


def start_write(environ, start_response, token):
    write = start_response(OK, plain())
    write(b"written ")
    write(b"twice ")
    return [b"and returned"]


def start_write_streams(environ, start_response, token):
    write = start_response(OK, plain())
    write(b"first")
    wait_for(token, lambda words: "seen" in words)
    write(b"second")
    return []


def start_write_length(environ, start_response, token):
    write = start_response(OK, plain(("Content-Length", "8")))
    write(b"text")
    return [b"more"]


def start_twice(environ, start_response, token):
    start_response(OK, plain())
    try:
        start_response("201 Created", plain())
    except Exception:
        note(token, "raised")
        raise
    note(token, "accepted")
    return [b"text"]


def failed():
    raise ValueError("conform: raised on purpose")


def start_replaced(environ, start_response, token):
    start_response(OK, plain(("X-First", "1")))
    try:
        failed()
    except ValueError:
        start_response("503 Replaced", plain(), sys.exc_info())
    return [b"replaced"]


def start_replaced_late(environ, start_response, token):
    start_response(OK, plain())
    yield b""
    try:
        failed()
    except ValueError:
        start_response("503 Replaced", plain(), sys.exc_info())
    yield b"replaced"


def start_reraised(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "11")))
    yield b"first"
    try:
        failed()
    except ValueError:
        try:
            start_response("503 Too Late", plain(), sys.exc_info())
        except ValueError:
            note(token, "raised")
            raise
    note(token, "accepted")
    yield b"second"


def start_late(environ, start_response, token):
    start_response(OK, plain())
    yield b"late"


def start_too_late(environ, start_response, token):
    yield b"too early"
    start_response(OK, plain())
    yield b"too late"


def start_never(environ, start_response, token):
    return []


def start_never_body(environ, start_response, token):
    return [b"no status"]


def head(status=OK, *headers):
    def answer(environ, start_response, token):
        start_response(status, plain(*headers))
        return [b"text"]

    return answer


STARTS = {name[6:]: value for name, value in list(globals().items()) if name.startswith("start_")}
STARTS.update(
    {
        "status_bytes": head(b"200 OK"),
        "status_number": head(200),
        "status_short": head("20 OK"),
        "status_word": head("OK"),
        "status_crlf": head("200 OK\r\nX-Injected: 1"),
        "name_bytes": head(OK, (b"X-Name", "1")),
        "value_bytes": head(OK, ("X-Value", b"1")),
        "value_number": head(OK, ("X-Value", 1)),
        "value_snowman": head(OK, ("X-Value", "\u2603")),
        "value_crlf": head(OK, ("X-Value", "1\r\nX-Injected: 1")),
        "value_lf": head(OK, ("X-Value", "1\nX-Injected: 1")),
        "value_cr": head(OK, ("X-Value", "1\rX-Injected: 1")),
        "value_nul": head(OK, ("X-Value", "1\0")),
        "name_crlf": head(OK, ("X-Name: 1\r\nX-Injected", "1")),
        "name_colon": head(OK, ("X-Injected: 1, X-Name", "1")),
        "name_space": head(OK, ("X Name", "1")),
        "connection": head(OK, ("Connection", "X-Conform"), ("X-Conform", "1")),
        "keep_alive": head(OK, ("Keep-Alive", "timeout=987")),
        "upgrade": head(OK, ("Upgrade", "conform")),
        "chunked": head(OK, ("Transfer-Encoding", "chunked")),
        "date": head(OK, ("Date", "Thu, 01 Jan 1970 00:00:00 GMT")),
        "server": head(OK, ("Server", "conform")),
        "length_word": head(OK, ("Content-Length", "four")),
        "length_negative": head(OK, ("Content-Length", "-4")),
    }
)


@endpoint
def status(environ, start_response, code):
    """A status with a body, although it may have none."""
    start_response("%s Conform" % code, plain())
    return [b"text"]


# Iterables


class Closing:
    """An iterable that notes each call of its `close()`."""

    def __init__(self, token, chunks):
        self.token, self.chunks = token, chunks

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        note(self.token, "closed")


@endpoint
def iterate(environ, start_response, case, token=""):
    return ITERABLES[case](environ, start_response, token)


def iterate_stream(environ, start_response, token):
    start_response(OK, plain())
    yield b"first"
    wait_for(token, lambda words: "seen" in words)
    yield b"second"


def iterate_stream_length(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "11")))
    yield b"first"
    wait_for(token, lambda words: "seen" in words)
    yield b"second"


def iterate_empty_chunks(environ, start_response, token):
    start_response(OK, plain())
    return iter([b"", b"one", b"", b"", b"two", b""])


def iterate_nothing(environ, start_response, token):
    start_response(OK, plain())
    return []


def iterate_tuple(environ, start_response, token):
    start_response(OK, plain())
    return (b"a ", b"tuple")


class Sequence:
    def __getitem__(self, index):
        return [b"by ", b"index"][index]


def iterate_sequence(environ, start_response, token):
    start_response(OK, plain())
    return Sequence()


def iterate_large(environ, start_response, token):
    start_response(OK, plain())
    return [b"x" * 1000000]


def iterate_many(environ, start_response, token):
    start_response(OK, plain())
    return (b"%d," % number for number in range(1000))


def iterate_long(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "4")))
    return [b"text", b"HTTP/1.1 200 OK\r\n\r\n"]


def iterate_long_chunk(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "4")))
    return [b"text and more"]


def iterate_short(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "10")))
    return [b"text"]


def iterate_str(environ, start_response, token):
    start_response(OK, plain())
    return ["text"]


def iterate_none(environ, start_response, token):
    start_response(OK, plain())
    return None


def iterate_closed(environ, start_response, token):
    start_response(OK, plain())
    return Closing(token, [b"te", b"xt"])


def iterate_closed_304(environ, start_response, token):
    start_response("304 Not Modified", [])
    return Closing(token, [])


def iterate_closed_long(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "4")))
    return Closing(token, [b"text", b"more"])


def iterate_closed_without_start(environ, start_response, token):
    return Closing(token, [b"text"])


def failing(*chunks):
    yield from chunks
    raise RuntimeError("conform: raised on purpose")


def iterate_closed_error(environ, start_response, token):
    start_response(OK, plain())
    return Closing(token, failing(b"text"))


def iterate_closed_first(environ, start_response, token):
    start_response(OK, plain())
    return Closing(token, failing())


class Endless(Closing):
    """16 MiB, more than lies between an app and a client that has left."""

    def __init__(self, token):
        self.token, self.left = token, 256

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            note(self.token, "drained")
            raise StopIteration
        self.left -= 1
        time.sleep(0.005)
        return b"x" * 65536


def iterate_endless(environ, start_response, token):
    start_response(OK, plain())
    return Endless(token)


def iterate_raise(environ, start_response, token):
    raise RuntimeError("conform: raised on purpose")


def iterate_raise_started(environ, start_response, token):
    start_response(OK, plain())
    raise RuntimeError("conform: raised on purpose")


def iterate_raise_first(environ, start_response, token):
    start_response(OK, plain())
    return failing()


def iterate_raise_middle(environ, start_response, token):
    start_response(OK, plain())
    return failing(b"text")


def iterate_raise_length(environ, start_response, token):
    start_response(OK, plain(("Content-Length", "10")))
    return failing(b"text")


ITERABLES = {name[8:]: value for name, value in list(globals().items()) if name.startswith("iterate_")}


# wsgi.file_wrapper


@endpoint
def file(environ, start_response, case, token=""):
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        return text(start_response, "no file_wrapper")
    headers = plain()
    if case == "memory":
        opened = io.BytesIO(b"a file in memory")
    else:
        opened = tempfile.TemporaryFile()
        opened.write(b"a file on disk")
        opened.seek(5 if case == "middle" else 0)
    if case == "short":
        headers.append(("Content-Length", "6"))
    if case == "closed":
        opened = Noted(token, opened)
    start_response(OK, headers)
    return wrapper(opened, 4) if case == "blocks" else wrapper(opened)


class Noted:
    """A file-like object that notes its `close()`."""

    def __init__(self, token, opened):
        self.token, self.opened = token, opened

    def read(self, size=-1):
        return self.opened.read(size)

    def close(self):
        note(self.token, "closed")
        self.opened.close()


# Concurrency


ACTIVE = []
LOCK = threading.Lock()
CALLS = []


@endpoint
def overlap(environ, start_response, token):
    """Notes the process, whether two calls are in it at once, and what the environ says about both."""
    me = object()
    with LOCK:
        ACTIVE.append(me)
    note(token, "%d" % os.getpid())
    end, together = time.monotonic() + 0.3, False
    while not together and time.monotonic() < end:
        with LOCK:
            together = len(ACTIVE) > 1
        time.sleep(0.01)
    if together:
        time.sleep(0.05)
    with LOCK:
        ACTIVE.remove(me)
    if together and not environ["wsgi.multithread"]:
        note(token, "two calls at once in a process without wsgi.multithread")
    if not environ["wsgi.multiprocess"]:
        note(token, "no wsgi.multiprocess")
    return text(start_response, "overlap")


@endpoint
def verdict(environ, start_response, flag, token):
    words = notes(token)
    processes = {word for word in words if word.isdigit()}
    if flag == "multithread":
        wrong = [word for word in words if "multithread" in word]
    else:
        wrong = ["%d processes without wsgi.multiprocess" % len(processes)] if len(processes) > 1 and "no wsgi.multiprocess" in words else []
    return text(start_response, wrong[0] if wrong else "ok")


@endpoint
def once(environ, start_response):
    CALLS.append(None)
    return text(start_response, "one process serves several requests with wsgi.run_once" if environ["wsgi.run_once"] and len(CALLS) > 1 else "ok")


@endpoint
def exit(environ, start_response):
    raise SystemExit(1)


@endpoint
def apart(environ, start_response, token):
    """Its own query, after others had time to disturb it."""
    before = environ["QUERY_STRING"]
    time.sleep(0.02)
    start_response(OK, plain(("X-Query", before)))
    return iter([before.encode(), b" ", environ["QUERY_STRING"].encode()])


if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000, application).serve_forever()
