"""An app that does to its worker whatever the path says. See faults.py."""

import ctypes
import os
import re
import threading
import time
from urllib.parse import parse_qsl

BLOCK = bytes(range(256)) * 256
LOCK = threading.Lock()
HELD = []


def app(environ, start_response):
    name = environ["PATH_INFO"].lstrip("/") or "hello"
    body = PATHS[name](environ, **dict(parse_qsl(environ["QUERY_STRING"])))
    if isinstance(body, bytes):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return body


def hello(environ):
    return b"Hello, World!"


def worker(environ):
    return str(os.getpid()).encode()


def leave(environ):
    os._exit(3)


def crash(environ):
    return ctypes.string_at(0)


def busy_loop(environ):
    while True:
        pass


def deadlock(environ):
    with LOCK:
        LOCK.acquire()
    return b""


def sleep_in_c(environ, seconds="20"):
    time.sleep(float(seconds))
    return b"slept"


def hold_interpreter(environ, seconds="20"):
    ctypes.PyDLL(None).sleep(int(seconds))
    return b"held"


def backtrack(environ):
    return str(re.match("(a+)+$", "a" * 40 + "b")).encode()


def endless(environ):
    while True:
        yield b"more\n"
        time.sleep(0.2)


def large(environ, mib="1"):
    for _ in range(int(float(mib) * 2**20) // len(BLOCK)):
        yield BLOCK


def upload(environ, pause="0", most="-1"):
    """Reads `most` octets (-1: all) in blocks of 64 KiB, with a pause after each."""
    left, count = int(most), 0
    while left and (block := environ["wsgi.input"].read(65536)):
        count += len(block)
        left -= min(left, len(block)) if left > 0 else 0
        if pause != "0":
            time.sleep(float(pause))
    if most != "-1":
        time.sleep(2)
    return str(count).encode()


def grow(environ):
    HELD.append(b"x" * 2**20)
    return b"Hello, World!"


PATHS = {f.__name__: f for f in (hello, worker, leave, crash, busy_loop, deadlock, sleep_in_c, hold_interpreter, backtrack, endless, large, upload, grow)}
