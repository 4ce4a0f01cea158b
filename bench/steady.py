"""Steady load from a few keep-alive clients, each answer checked and kept."""

import http.client
import select
import socket
import threading
import time
from collections import Counter

SILENCE = 45
"""Seconds after which a request without an answer counts as hung."""


class Steady:
    """Clients that ask in turn for as long as the block runs.

    After the block `answers` holds a tuple for each request: when it was sent, how long it took, and what came: "200", another status, or what
    went wrong. A connection that is refused is no request.
    """

    def __init__(self, port, *, path="/", body=b"Hello, World!", clients=8, pause=0.004):
        self.port, self.path, self.body, self.pause = port, path, body, pause
        self.answers, self.refused = [], 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(SILENCE + 5)

    def count(self):
        return len(self.answers)

    def wait_for(self, more, seconds=SILENCE):
        """Returns once so many more requests are answered."""
        until, wanted = time.monotonic() + seconds, self.count() + more
        while self.count() < wanted and time.monotonic() < until:
            time.sleep(0.01)

    def outcomes(self):
        return Counter(what for _, _, what in self.answers)

    def failed(self):
        return {what: count for what, count in self.outcomes().items() if what != "200"}

    def p99(self, since=0.0):
        return percentile([took for when, took, what in self.answers if what == "200" and when >= since], 0.99)

    def slowest(self):
        return max((took for _, took, _ in self.answers), default=0.0)

    def _run(self):
        connection = None
        while not self._over.is_set():
            try:
                connection = connection or connect(self.port)
            except OSError:
                self.refused += 1
                time.sleep(0.05)
                continue
            if is_closed(connection):
                # The server ended it before there was a request.
                connection.close()
                connection = None
                continue
            begin = time.monotonic()
            what, keep = ask(connection, self.path, self.body)
            self.answers.append((begin, time.monotonic() - begin, what))
            if not keep:
                connection.close()
                connection = None
            time.sleep(self.pause)


def connect(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def is_closed(connection):
    return bool(select.select([connection.sock], [], [], 0)[0])


def ask(connection, path, body=None, method="GET", payload=None):
    """What came in answer to one request, and whether the connection may be used again."""
    try:
        connection.request(method, path, payload)
        answer = connection.getresponse()
        octets = answer.read()
    except TimeoutError:
        return "hung", False
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, False
    what = str(answer.status)
    if answer.status == 200 and body is not None and octets != body:
        what = "wrong body"
    return what, not answer.will_close


def once(port, path, **more):
    """What came in answer to a request on a connection of its own, and how long that took."""
    begin = time.monotonic()
    try:
        connection = connect(port)
    except OSError:
        return "refused", 0.0
    what, _ = ask(connection, path, **more)
    connection.close()
    return what, time.monotonic() - begin


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
