"""Everything an app may do wrong, one function each; the path names the function."""

import sys

import door

door.open_door()

CASES = {}
OK = ("200 OK", [("Content-Type", "text/plain")])


def case(function):
    CASES[function.__name__] = function
    return function


def app(environ, start_response):
    return CASES[environ["PATH_INFO"][1:]](environ, start_response)


@case
def fine(environ, start_response):
    start_response(*OK)
    return [b"fine"]


# What it returns.


@case
def returns_none(environ, start_response):
    start_response(*OK)


@case
def returns_str(environ, start_response):
    start_response(*OK)
    return "text"


@case
def returns_bytes(environ, start_response):
    start_response(*OK)
    return b"octets"


@case
def returns_number(environ, start_response):
    start_response(*OK)
    return 7


@case
def returns_list_of_str(environ, start_response):
    start_response(*OK)
    return ["text"]


@case
def returns_list_of_none(environ, start_response):
    start_response(*OK)
    return [None]


@case
def returns_list_of_bytearray(environ, start_response):
    start_response(*OK)
    return [bytearray(b"x")]


@case
def returns_the_callable(environ, start_response):
    start_response(*OK)
    return app


@case
def returns_type(environ, start_response):
    start_response(*OK)
    return list


@case
def returns_dict(environ, start_response):
    start_response(*OK)
    return {"a": 1}


@case
def yields_str(environ, start_response):
    start_response(*OK)
    yield "text"


@case
def iter_raises(environ, start_response):
    class Odd:
        def __iter__(self):
            raise ValueError("no iterator")

    start_response(*OK)
    return Odd()


@case
def iter_gives_no_iterator(environ, start_response):
    class Odd:
        def __iter__(self):
            return 3

    start_response(*OK)
    return Odd()


@case
def length_lies(environ, start_response):
    class Odd:
        def __len__(self):
            return 1

        def __iter__(self):
            return iter([b"a", b"b", b"c"])

    start_response(*OK)
    return Odd()


@case
def length_raises(environ, start_response):
    class Odd(list):
        def __len__(self):
            raise ValueError("no length")

    start_response(*OK)
    return Odd([b"abc"])


# start_response.


@case
def never_starts(environ, start_response):
    return [b"body"]


@case
def never_starts_and_yields(environ, start_response):
    yield b"body"


@case
def never_starts_and_is_empty(environ, start_response):
    return []


@case
def starts_twice(environ, start_response):
    start_response(*OK)
    start_response(*OK)
    return [b"body"]


@case
def starts_without_arguments(environ, start_response):
    start_response()
    return []


def status(name, value):
    def function(environ, start_response):
        start_response(value, [])
        return [b"body"]

    CASES["status_" + name] = function


for name, value in {
    "empty": "",
    "word": "OK",
    "number": 200,
    "bytes": b"200 OK",
    "none": None,
    "short": "20 OK",
    "long": "2000 OK",
    "bare": "200",
    "unspaced": "200OK",
    "negative": "-20 OK",
    "zero": "000 Zero",
    "informational": "100 Continue",
    "switching": "101 Switching Protocols",
    "line": "200 OK\r\nX-Evil: 1",
    "nul": "200 O\0K",
    "unicode": "200 \u20ac",
    "surrogate": "200 \ud800",
    "fullwidth": "２００ OK",
}.items():
    status(name, value)


def headers(name, value):
    def function(environ, start_response):
        start_response("200 OK", value)
        return [b"body"]

    CASES["headers_" + name] = function


for name, value in {
    "none": None,
    "str": "X-A: 1",
    "number": 1,
    "pair_of_one": [("X-A",)],
    "pair_of_three": [("X-A", "1", "2")],
    "pair_str": ["ab"],
    "name_bytes": [(b"X-A", "1")],
    "value_bytes": [("X-A", b"1")],
    "value_number": [("Content-Length", 4)],
    "value_none": [("X-A", None)],
    "name_empty": [("", "1")],
    "name_space": [("X A", "1")],
    "name_colon": [("X:A", "1")],
    "name_line": [("X\r\nY", "1")],
    "name_latin": [("X-\xe9", "1")],
    "value_line": [("X-A", "1\r\nX-Evil: 1")],
    "value_lf": [("X-A", "1\nX-Evil: 1")],
    "value_cr": [("X-A", "1\rX-Evil: 1")],
    "value_nul": [("X-A", "a\0b")],
    "value_unicode": [("X-A", "\u20ac")],
    "value_surrogate": [("X-A", "\ud800")],
    "length_word": [("Content-Length", "four")],
    "length_negative": [("Content-Length", "-4")],
    "length_plus": [("Content-Length", "+4")],
    "length_list": [("Content-Length", "4, 4")],
    "length_huge": [("Content-Length", "9" * 40)],
    "length_twice": [("Content-Length", "4"), ("Content-Length", "5")],
}.items():
    headers(name, value)


# Exceptions.


def raising(name, make):
    def function(environ, start_response):
        raise make()

    CASES["raises_" + name] = function

    def after(environ, start_response):
        start_response(*OK)
        raise make()

    CASES["raises_after_start_" + name] = after

    def midway(environ, start_response):
        start_response(*OK)
        yield b"some"
        raise make()

    CASES["raises_midway_" + name] = midway


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


for name, make in {
    "exception": lambda: ValueError("on purpose"),
    "system_exit": lambda: SystemExit(3),
    "keyboard_interrupt": KeyboardInterrupt,
    "generator_exit": GeneratorExit,
    "base": BaseException,
    "memory": MemoryError,
    "recursion": RecursionError,
    "unprintable": Unprintable,
    "stop_iteration": StopIteration,
    "surrogate": lambda: ValueError("\ud800"),
}.items():
    raising(name, make)


@case
def exits(environ, start_response):
    sys.exit(1)


@case
def recurses(environ, start_response):
    return recurses(environ, start_response)


@case
def close_raises(environ, start_response):
    class Odd(list):
        def close(self):
            raise ValueError("close on purpose")

    start_response(*OK)
    return Odd([b"whole"])


@case
def close_exits(environ, start_response):
    class Odd(list):
        def close(self):
            sys.exit(1)

    start_response(*OK)
    return Odd([b"whole"])


@case
def close_is_no_callable(environ, start_response):
    class Odd(list):
        close = 3

    start_response(*OK)
    return Odd([b"whole"])


# Content-Length.


@case
def too_long_list(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"abcdef"]


@case
def too_long_chunks(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    yield b"abc"
    yield b"def"


@case
def too_long_across(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    yield b"ab"
    yield b"cd"


@case
def too_short_list(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    return [b"abc"]


@case
def too_short_chunks(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    yield b"abc"


@case
def too_short_empty(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    return []


# write().


@case
def writes_str(environ, start_response):
    start_response(*OK)("text")
    return []


@case
def writes_too_much(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "3")])
    write(b"abcdef")
    return []


@case
def exc_info_is_nonsense_after_start(environ, start_response):
    start_response(*OK)(b"begun")
    start_response("500 Oops", [], 7)
    return []


# Odds.


@case
def spoils_environ(environ, start_response):
    environ.clear()
    start_response(*OK)
    return [b"spoilt"]


@case
def hop_by_hop(environ, start_response):
    start_response("200 OK", [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "1"), ("X-A", "1")])
    return [b"body"]


@case
def deletes_errors(environ, start_response):
    environ["wsgi.errors"] = None
    start_response(*OK)
    return [b"deleted"]


@case
def closes_stdout(environ, start_response):
    print("from the app")
    start_response(*OK)
    return [b"printed"]
