"""Middleware that does one thing each, and an app that does anything, to be put around native layers."""

import io
import json
import threading
import traceback

EVENTS = []
GATE = threading.Event()
LAST = []


class Boom(Exception):
    pass


def boom():
    LAST.append(Boom("on purpose"))
    raise LAST[-1]


class Closing:
    """An iterable that notes how it ends."""

    def __init__(self, chunks, name="app"):
        self.chunks, self.name = iter(chunks), name

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        EVENTS.append(f"{self.name} closed")
        if hasattr(self.chunks, "close"):
            self.chunks.close()


# What the app does, by path.


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]


def chunks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"one ", b"two ", b"three"])


def late(environ, start_response):
    """A generator: start_response() comes with the first chunk."""
    start_response("202 Late", [("Content-Type", "text/plain"), ("X-Late", "yes")])
    yield b"late "
    yield b"answer"


def later(environ, start_response):
    """The head comes after chunks that hold nothing."""
    yield b""
    yield b""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"later"


def gated(environ, start_response):
    GATE.clear()
    start_response("200 OK", [("Content-Type", "text/plain")])

    def answer():
        try:
            yield b"first"
            GATE.wait(20)
            EVENTS.append("made second")
            yield b"second"
        finally:
            EVENTS.append("finally")

    return answer()


def endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def answer():
        try:
            while True:
                yield b"x" * 1024
        finally:
            EVENTS.append("finally")

    return Closing(answer())


def writes(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    write(b"twice ")
    return [b"and returned"]


def large_writes(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(40):
        write(b"w" * 65536)
    return []


def exc_info_before(environ, start_response):
    import sys

    start_response("200 OK", [("X-First", "1")])
    try:
        boom()
    except Boom:
        start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry"]


def exc_info_after(environ, start_response):
    import sys

    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun"
    try:
        boom()
    except Boom:
        start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    yield b"never"


def raises(environ, start_response):
    boom()


def raises_after_start(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    boom()


def raises_at_once(environ, start_response):
    """A generator that raises before its first chunk."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    boom()
    yield b"never"


def raises_midway(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"some"
    try:
        boom()
    finally:
        EVENTS.append("finally")


def exits(environ, start_response):
    raise SystemExit(7)


def interrupts(environ, start_response):
    raise KeyboardInterrupt


def fails_once(environ, start_response):
    """A server error at the first call of a request, and its body at the second."""
    calls = environ["across.calls"] = environ.get("across.calls", 0) + 1
    if calls == 1:
        start_response("500 Once", [("Content-Type", "text/plain")])
        return Closing([b"once"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


def about(environ, start_response):
    """The environ; the names of types where JSON has none."""
    start_response("200 OK", [("Content-Type", "application/json")])
    environ["across.inner"] = "from the app"
    environ.get("across.callback", lambda: None)()
    return [json.dumps(environ, default=lambda value: type(value).__name__).encode()]


def length(environ, start_response):
    read = iter(lambda: len(environ["wsgi.input"].read(10_000)), 0)
    body = f"{sum(read)} of {environ.get('CONTENT_LENGTH')}".encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def reads(environ, start_response):
    """All the ways to read."""
    body = environ["wsgi.input"]
    said = [body.read(3), body.readline(), body.readline(2), body.readlines(7), next(iter(body)), body.read(), body.read(), body.readline()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(said).encode()]


def lazy_echo(environ, start_response):
    """What is read goes out before more is read."""
    body = environ["wsgi.input"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter(body.readline, b"")


def catches_read(environ, start_response):
    said = []
    for _ in range(2):
        try:
            said.append(repr(environ["wsgi.input"].read()))
        except OSError as error:
            said.append(type(error).__name__)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["|".join(said).encode()]


def latin(environ, start_response):
    start_response("200 Sch\xf6n", [("Content-Type", "text/plain"), ("X-Latin", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [environ.get("HTTP_X_LATIN", "").encode("latin-1")]


def head_without_body(environ, start_response):
    """As frameworks answer a HEAD: the length that a GET would give, and nothing else."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"hello"]


def head_without_chunks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    if environ["REQUEST_METHOD"] != "HEAD":
        yield b"hello"


def names_a_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("X-Accel-Redirect", environ["HTTP_X_FILE"])])
    return []


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def file(environ, start_response):
    with open(__file__, "rb") as source:
        size = len(source.read())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def sleeps(environ, start_response):
    while True:
        threading.Event().wait(0.01)


CASES = {
    case.__name__: case
    for case in [
        plain, chunks, late, later, gated, endless, writes, large_writes, exc_info_before, exc_info_after, raises, raises_after_start,
        raises_at_once, raises_midway, exits, interrupts, fails_once, about, length, reads, lazy_echo, catches_read, latin, no_content,
        head_without_body, head_without_chunks, names_a_file, not_modified, file, sleeps,
    ]
}  # fmt: skip


def app(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    if name == "_open":
        GATE.set()
        name = "plain"
    if name == "_hostile":
        import hostile

        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["\n".join(hostile.CASES).encode()]
    if name == "_events":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(EVENTS).encode()]
    return CASES.get(name, about)(environ, start_response)


# Middleware.


class Through:
    """Does nothing."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)


class Tag(Through):
    """Leaves its name on the way in and on the way out."""

    def __init__(self, app, name):
        super().__init__(app)
        self.name = name

    def __call__(self, environ, start_response):
        trail = environ.get("HTTP_X_TRAIL")
        environ["HTTP_X_TRAIL"] = f"{trail}, {self.name}" if trail else self.name

        def start(status, headers, *more):
            return start_response(status, headers + [("X-Order", self.name)], *more)

        return self.app(environ, start)


class Generator(Through):
    """Passes chunks on from a generator, as most middleware does."""

    def __call__(self, environ, start_response):
        answer = self.app(environ, start_response)
        try:
            for chunk in answer:
                yield chunk
        finally:
            EVENTS.append("generator closed")
            if hasattr(answer, "close"):
                answer.close()


class Catch(Through):
    """Makes a page of what the app raises, while nothing is sent."""

    def __call__(self, environ, start_response):
        import sys

        try:
            answer = self.app(environ, start_response)
            yield from answer
            if hasattr(answer, "close"):
                answer.close()
        except BaseException as error:
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            page = f"{type(error).__name__} {error} same={bool(LAST) and error is LAST[-1]} boom={'boom' in names} {environ['REQUEST_URI']}"
            start_response("599 Caught", [("Content-Type", "text/plain"), ("X-Caught", type(error).__name__)], sys.exc_info())
            yield page.encode()


class CatchMidway(Through):
    """Ends a broken answer with what broke it."""

    def __call__(self, environ, start_response):
        answer = self.app(environ, start_response)
        try:
            yield from answer
        except Boom as error:
            yield f" and {type(error).__name__} same={error is LAST[-1]}".encode()


class Note(Through):
    """Notes what passes."""

    def __call__(self, environ, start_response):
        try:
            return self.app(environ, start_response)
        except BaseException as error:
            EVENTS.append(type(error).__name__)
            raise


class Retry(Through):
    """Calls the app again where it fails."""

    def __init__(self, app, keep=False):
        super().__init__(app)
        self.keep = keep

    def __call__(self, environ, start_response):
        if self.keep:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read())
        for _ in range(2):
            head = []
            answer = self.app(environ, lambda *given: head.append(given))
            body = b"".join(answer)
            if hasattr(answer, "close"):
                answer.close()
            if not head[0][0].startswith("5"):
                break
            if self.keep:
                environ["wsgi.input"].seek(0)
        start_response(*head[0])
        return [body]


class Early(Through):
    """Answers by itself where the path says so."""

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] != "/early":
            return self.app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"early"]


class SignOn(Through):
    """Single sign-on, by a header."""

    def __call__(self, environ, start_response):
        environ["REMOTE_USER"] = environ.get("HTTP_X_USER") or "zo\xeb"
        environ["AUTH_TYPE"] = "Custom"
        return self.app(environ, start_response)


class Keys(Through):
    """Leaves things of its own in the environ, and looks for those of others afterwards."""

    def __call__(self, environ, start_response):
        thing = object()
        environ["across.thing"], environ["across.none"], environ["across.list"] = thing, None, [1, 2]
        environ["REMOTE_USER"] = None
        environ["across.id"] = id(environ)
        said = []
        environ["across.callback"] = lambda: said.append(environ["across.thing"] is thing)
        before = {key: value for key, value in environ.items()}
        answer = self.app(environ, start_response)
        changed = sorted(key for key, value in before.items() if environ.get(key, "gone") is not value and environ.get(key) != value)
        EVENTS.append(f"inner={environ.get('across.inner')} same={said} changed={changed}")
        return answer


class Move(Through):
    """Moves the first part of the path to SCRIPT_NAME, or renames the path."""

    def __init__(self, app, to=None):
        super().__init__(app)
        self.to = to

    def __call__(self, environ, start_response):
        if self.to:
            environ["PATH_INFO"] = self.to
        else:
            first, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
            environ["SCRIPT_NAME"] += "/" + first
            environ["PATH_INFO"] = "/" + rest
        return self.app(environ, start_response)


class ReadFirst(Through):
    """Reads the body, and puts another in its place."""

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read()[::-1]
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return self.app(environ, start_response)


class ReadAfter(Through):
    """Reads what the app has left of the body."""

    def __call__(self, environ, start_response):
        body = b"".join(self.app(environ, start_response))
        return [body, b" left ", environ["wsgi.input"].read()]


class Set(Through):
    """Sets variables."""

    def __init__(self, app, **variables):
        super().__init__(app)
        self.variables = variables

    def __call__(self, environ, start_response):
        environ.update(self.variables)
        return self.app(environ, start_response)


class Hostile(Through):
    """Breaks the rules as the query says."""

    def __call__(self, environ, start_response):
        case = environ["QUERY_STRING"]
        if case == "returns_none":
            return None
        if case == "returns_str":
            start_response("200 OK", [])
            return "text"
        if case == "str_chunks":
            self.app(environ, start_response)
            return ["text"]
        if case == "never_starts":
            self.app(environ, lambda *given: None)
            return [b"body"]
        if case == "starts_twice":
            start_response("200 OK", [])
        if case == "raises":
            raise Boom("of the middleware")
        if case == "raises_after":
            self.app(environ, start_response)
            raise Boom("of the middleware")
        if case == "exits":
            raise SystemExit(3)
        if case == "bad_header":
            return self.app(environ, lambda status, headers, *more: start_response(status, [("X-Bad", "a\r\nX-Evil: 1")]))
        if case == "int_header":
            environ["HTTP_X_NUMBER"] = 7
        if case == "none_header":
            environ["HTTP_X_NONE"] = None
        if case == "wide_header":
            environ["HTTP_X_WIDE"] = "\u20ac"
        if case == "line_header":
            environ["HTTP_X_LINE"] = "a\r\nX-Evil: 1"
        if case == "no_header_name":
            environ["HTTP_X BAD"] = "1"
        if case == "surrogate_header":
            environ["HTTP_X_HALF"] = "\udc80"
        if case == "surrogate_key":
            environ["HTTP_\udc80"] = "1"
        if case == "wide_path":
            environ["PATH_INFO"] = "/\u20ac"
        if case == "int_path":
            environ["PATH_INFO"] = 7
        if case == "bad_method":
            environ["REQUEST_METHOD"] = "NO SUCH"
        if case == "int_key":
            environ[7] = 7
        if case == "no_path":
            del environ["PATH_INFO"]
        if case == "no_method":
            del environ["REQUEST_METHOD"]
        if case == "no_input":
            del environ["wsgi.input"]
        if case == "bad_input":
            environ["wsgi.input"] = 7
            environ["CONTENT_LENGTH"] = "7"
            environ["PATH_INFO"] = "/length"
        if case == "str_input":
            environ["wsgi.input"] = io.StringIO("1234567")
            environ["CONTENT_LENGTH"] = "7"
            environ["PATH_INFO"] = "/length"
        if case == "not_a_dict":
            return self.app([], start_response)
        if case == "no_arguments":
            return self.app()
        if case == "bad_start":
            return self.app(environ, None)
        if case == "start_raises":
            return self.app(environ, lambda *given: boom())
        if case == "threads":
            # The app is called in another thread, one after the other.
            answers = []
            thread = threading.Thread(target=lambda: answers.append(self.app(environ, start_response)))
            thread.start()
            thread.join()
            return answers[0]
        if case == "mutates":
            kept = []

            def start(status, headers, *more):
                write = start_response(status, headers, *more)
                headers.append(("X-Evil", "1"))
                kept.append(headers)
                return write

            answer = self.app(environ, start)
            kept[0].clear()
            return answer
        if case == "drops":
            # The answer of the app is neither read nor closed.
            self.app({**environ, "PATH_INFO": "/chunks"}, lambda *given: None)
            start_response("200 OK", [])
            return [b"dropped"]
        if case == "reads_after_close":
            answer = self.app({**environ, "PATH_INFO": "/chunks"}, start_response)
            answer.close()
            answer.close()
            return list(answer)
        return self.app(environ, start_response)


# What cannot be a layer.


class Broken:
    def __init__(self, app):
        raise ValueError("no such luck")


def returns_nothing(app):
    return None


NOTHING = 7
