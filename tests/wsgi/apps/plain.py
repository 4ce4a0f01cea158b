"""Small apps, one behaviour each."""

import ctypes
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from io import BytesIO
from wsgiref.validate import validator

import door

door.open_door()

TEXT = [("Content-Type", "text/plain")]


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


def environ_of(environ, start_response):
    """The environ as JSON: strings as they are, of the rest the type."""
    start_response("200 OK", [("Content-Type", "application/json")])
    plain = (str, bool, tuple)
    shown = {key: value if isinstance(value, plain) else type(value).__name__ for key, value in environ.items()}
    return [json.dumps(shown).encode()]


# Answers.


def empty(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def chunks(environ, start_response):
    """A list of small and large chunks."""
    start_response("200 OK", TEXT)
    return [b"a", b"", b"b" * 40_000, b"c" * 10, b"d" * 32_768]


def late_start(environ, start_response):
    """A generator: start_response() comes with the first chunk."""
    start_response("201 Created", [("X-Late", "yes")])
    yield b"one"
    yield b"two"


def late_start_after_empty(environ, start_response):
    yield b""
    start_response("201 Created", [])
    yield b"one"


def no_content(environ, start_response):
    start_response("204 No Content", [("X-A", "1")])
    return [b"not sent"]


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "10")])
    return iter([b"not sent"])


def reason(environ, start_response):
    start_response("299 Rather Fine", TEXT)
    return [b"x"]


def head_with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "1000")])
    return []


def backed(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"z" * 5_000_000]


def counted(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    yield b"hello"


# write() and exc_info.


def writes(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"a")
    write(b"")
    write(b"b")
    return [b"c", b"d"]


def writes_then_file(environ, start_response):
    start_response("200 OK", TEXT)(b"<")
    return environ["wsgi.file_wrapper"](BytesIO(b"file"))


def replaces(environ, start_response):
    import sys

    start_response("200 OK", [("X-Old", "1")])
    try:
        raise ValueError("changed its mind")
    except ValueError:
        start_response("503 Later", [("X-New", "1")], sys.exc_info())
    return [b"replaced"]


def replaces_too_late(environ, start_response):
    import sys

    start_response("200 OK", [])(b"begun")
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("503 Later", [], sys.exc_info())
    return [b"never"]


# close().

closed = []


class Closing:
    """Counts how often it is closed; the query says how its chunks come."""

    def __init__(self, kind):
        self.kind = kind

    def __iter__(self):
        if self.kind == "raise":
            raise ValueError("iter")
        yield b"one"
        if self.kind == "midway":
            raise ValueError("midway")
        while self.kind == "forever":
            yield b"x" * 1000

    def close(self):
        closed.append(self.kind)


def closing(environ, start_response):
    start_response("204 No Content" if environ["QUERY_STRING"] == "bodiless" else "200 OK", [])
    return Closing(environ["QUERY_STRING"])


# Streams.

produced = 0


def endless(environ, start_response):
    """A gigabyte; counts how far it gets."""
    global produced
    produced = 0
    start_response("200 OK", TEXT)
    for _ in range(16_000):
        produced += 65_536
        yield b"x" * 65_536


written = 0


def endless_write(environ, start_response):
    global written
    written = 0
    write = start_response("200 OK", TEXT)
    try:
        for _ in range(16_000):
            write(b"x" * 65_536)
            written += 65_536
    except OSError as error:
        closed.append(type(error).__name__)
        raise
    return []


gate = threading.Event()


def gated(environ, start_response):
    """Its second chunk waits for the gate."""
    start_response("200 OK", TEXT)
    yield b"first"
    gate.wait(20)
    yield b"second"


# Threads.

inside = 0
most = 0
lock = threading.Lock()
barrier = threading.Barrier(4)


def meets(environ, start_response):
    """Ends only when four requests are inside at once."""
    barrier.wait(20)
    start_response("200 OK", TEXT)
    return [b"met"]


local = threading.local()


def remembers(environ, start_response):
    """Counts the requests of its thread."""
    local.count = getattr(local, "count", 0) + 1
    start_response("200 OK", TEXT)
    return [b"%d" % local.count]


events = defaultdict(threading.Event)


def holds(environ, start_response):
    """Waits for the event that the query names."""
    events[environ["QUERY_STRING"]].wait(20)
    start_response("200 OK", TEXT)
    return [b"held"]


# Bodies.


def length_read(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [b"%d %s" % (len(body), environ.get("CONTENT_LENGTH", "none").encode())]


def reads_script(environ, start_response):
    """Runs the reads that a header lists, and answers with what they gave."""
    source = environ["wsgi.input"]
    results = []
    for name, size in json.loads(environ["HTTP_X_SCRIPT"]):
        if name == "next":
            results.append(next(source, b"").hex())
        elif name == "readlines":
            results.append([line.hex() for line in source.readlines(size)])
        else:
            results.append(getattr(source, name)(size).hex())
    start_response("200 OK", TEXT)
    return [json.dumps(results).encode()]


called = 0
failures = []


def reads_or_fails(environ, start_response):
    global called
    called += 1
    try:
        body = environ["wsgi.input"].read()
    except OSError as error:
        failures.append(str(error))
        if environ["QUERY_STRING"] == "again":
            try:
                environ["wsgi.input"].read()
            except OSError:
                failures.append("again")
        if environ["QUERY_STRING"] == "answer":
            start_response("422 Cut", [])
            return [b"cut"]
        if environ["QUERY_STRING"] == "500":
            start_response("500 Oops", [])
            return [b"oops"]
        raise
    start_response("200 OK", TEXT)
    return [b"%d" % len(body)]


def refuses_unread(environ, start_response):
    start_response("403 No", TEXT)
    return [b"unread"]


def odd_reads(environ, start_response):
    results = []
    for arguments in [("x",), (1.5,), (1, 2), (object(),)]:
        try:
            environ["wsgi.input"].read(*arguments)
            results.append("read")
        except TypeError:
            results.append("TypeError")
    start_response("200 OK", TEXT)
    return [" ".join(results).encode()]


def says(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("one\ntwo\nthr")
    errors.writelines(["ee\n", "fo", "ur"])
    print("\ud800 five", file=errors)
    errors.flush()
    errors.write("unfinished")
    start_response("200 OK", TEXT)
    return [b"said"]


# Files.


def source_file(environ, start_response):
    file = open(__file__, "rb")
    file.read(10)
    start_response("200 OK", TEXT)
    wrapper = environ["wsgi.file_wrapper"](file, 4096)
    closed.append(file)
    return wrapper


def source_file_of_length(environ, start_response):
    start_response("200 OK", [("Content-Length", environ["QUERY_STRING"])])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def temporary_file(environ, start_response):
    file = tempfile.NamedTemporaryFile()
    file.write(b"temporary" * 1000)
    file.flush()
    file.seek(9)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](file)


def memory_file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](BytesIO(b"memory" * 10_000), 1000)


def gzip_file(environ, start_response):
    """A file object that has a descriptor and gives something else."""
    import gzip

    path = os.path.join(tempfile.mkdtemp(), "x.gz")
    with gzip.open(path, "wb") as file:
        file.write(b"unpacked")
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](gzip.open(path, "rb"))


def text_file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(__file__))


def closed_file(environ, start_response):
    file = open(__file__, "rb")
    file.close()
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](file)


def pipe_file(environ, start_response):
    read, write = os.pipe()
    os.write(write, b"piped")
    os.close(write)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](os.fdopen(read, "rb"))


def unsized_file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open("/proc/sys/kernel/ostype", "rb"))


def wrapped_file(environ, start_response):
    """As a middleware sees it: an iterable with close()."""
    start_response("200 OK", TEXT)
    wrapper = environ["wsgi.file_wrapper"](BytesIO(b"abc"), 1)
    try:
        return [chunk.upper() for chunk in wrapper]
    finally:
        wrapper.close()


class Buffered:
    def read(self, size):
        return b""


def file_without_close(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](Buffered())


# The validator of the standard library.


def validated_app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    if path == "/stream":
        start_response("200 OK", TEXT)
        return iter([b"a", b"b"])
    if path == "/write":
        start_response("200 OK", TEXT)(b"written")
        return []
    if path == "/read":
        source = environ["wsgi.input"]
        body = source.read(2) + source.readline() + b"".join(source.readlines()) + b"".join(source) + source.read(1)
        environ["wsgi.errors"].flush()
        start_response("200 OK", TEXT)
        return [body]
    start_response("200 OK", TEXT)
    return [path.encode("latin-1")]


validated = validator(validated_app)


# What is no app.

number = 7


def make():
    return hello


def make_nothing():
    return None


def make_trouble():
    raise ValueError("factory on purpose")


class namespace:
    app = staticmethod(hello)


def interpreter(environ, start_response):
    import signal
    import sys

    default = signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, None)
    start_response("200 OK", TEXT)
    return [f"{sys.prefix} {len(sys.argv)} signals: {'default' if default else signal.getsignal(signal.SIGINT)}".encode()]


# Deadlines.

bolt = threading.Lock()
latch = threading.Lock()
latch.acquire()
left = []


def dawdles(environ, start_response):
    """Does not answer, each in its way, unless there is no query string."""
    kind = environ["QUERY_STRING"]
    try:
        {"spins": spins, "naps": naps, "deadlocks": deadlocks, "swallows": swallows, "holds_on": holds_on}.get(kind, str)()
    finally:
        left.append(kind)
    start_response("200 OK", TEXT)
    return [str(threading.get_ident()).encode()]


def spins():
    while True:
        pass


def dozes(environ, start_response):
    """Answers after about as many milliseconds as asked for."""
    until = time.monotonic() + float(environ["QUERY_STRING"]) / 1000
    while time.monotonic() < until:
        pass
    start_response("200 OK", TEXT)
    return [b"awake"]


def naps():
    while True:
        time.sleep(0.005)


def deadlocks():
    with bolt:
        bolt.acquire()


def swallows():
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


def holds_on():
    """Sleeps in C code that does not let the interpreter go."""
    ctypes.PyDLL(None).usleep(2_500_000)


def dawdles_in_c(environ, start_response):
    """Its answer waits in C code that lets the interpreter go, and no Python code runs after that."""
    start_response("200 OK", TEXT)
    return map(latch.acquire, [True]) if environ["QUERY_STRING"] == "late" else [b"hello"]


def dawdles_in_close(environ, start_response):
    start_response("200 OK", TEXT)
    return Dawdler()


class Dawdler:
    def __iter__(self):
        naps()

    def close(self):
        left.append("close")


effects = []


def with_effects(environ, start_response):
    """Counts its chunks: three, or endless ones of 64 KiB or of one octet."""
    query = environ["QUERY_STRING"]
    start_response("204 No Content" if query == "empty" else "200 OK", [])

    def chunks():
        try:
            while len(effects) < 3 or query in ("large", "tiny"):
                effects.append("chunk")
                yield b"x" * (65_536 if query == "large" else 1)
        finally:
            effects.append("closed")

    return chunks()
