"""Clients that take their time, in hundreds, beside one that does not."""

import contextlib
import select
import socket
import threading
import time
from statistics import median

import peers
from fault_site import Row, site
from run import run_load

def slow_clients(options):
    post = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    kinds = (
        ("heads that come an octet at a time", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ", b"x", {}),
        ("bodies of 100 KB that come an octet at a time", post % 100_000, b"x", {}),
        ("bodies of 100 MB that come an octet at a time", post % 100_000_000, b"x", {}),
        ("readers of 256 KiB that hardly read", b"GET /large?mib=0.25 HTTP/1.1\r\nHost: localhost\r\n\r\n", None, {}),
        ("readers of 16 MiB that hardly read; 4 threads in reserve", b"GET /large?mib=16 HTTP/1.1\r\nHost: localhost\r\n\r\n", None, RESERVE),
        ("clients that say nothing", b"", b"", {}),
        ("HTTP/2 POSTs whose body never comes", http2_post("/upload"), b"", {}),
    )
    for what, first, then, more in kinds:
        yield measured(f"{options.slow} {what}", options, options.slow, first, then, more)


def streams(options):
    first = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield measured(f"{options.streams} endless streams; 4 threads in reserve", options, options.streams, first, None, RESERVE)


RESERVE = {"routes": [{"match": {"path": "/"}, "reserve": 4, "app": "site"}]}


def measured(done, options, count, first, then, more):
    with site(options, workers=2, threads=4, **more) as served:
        plan = plan_for(served)
        rounds = lambda: [run_load(LOAD(), plan, options.seconds, None, served.tree)["groups"][0] for _ in range(options.rounds)]
        rounds()
        before = rounds()
        with crowd(served.port, count, first, then) as open_ones:
            time.sleep(0.5)
            during = rounds()
            left = open_ones()
        after = rounds()
    usual = median(sample["p99_ms"] for sample in before + after)
    now = median(sample["p99_ms"] for sample in during)
    # The load generator ends at the first wrong answer, so that there is none here.
    notes = f"p99 {usual:.1f} ms alone, {now:.1f} ms beside them; {left} of them still connected"
    return Row(done, sum(sample["requests"] for sample in during), 0, 0, now / usual, notes, now <= 2 * usual)


def LOAD():
    return peers.LOAD if peers.LOAD.exists() else peers.build_load()


def plan_for(served):
    request, body = served.folder / "request", served.folder / "body"
    request.write_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    body.write_bytes(b"Hello, World!")
    group = {"name": "hello", "connections": 4, "exchanges": [{"request": str(request), "status": 200, "body": str(body)}]}
    return {"address": f"127.0.0.1:{served.port}", "groups": [group]}


@contextlib.contextmanager
def crowd(port, count, first, then):
    """So many clients that send `first` at once, then `then` twice a second; where that is `None` they read a little instead."""
    clients, over = [], threading.Event()
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(first)
        client.setblocking(False)
        clients.append(client)

    def go_on():
        while not over.wait(0.5):
            for client in clients:
                with contextlib.suppress(OSError):
                    if then is None:
                        client.recv(64)
                    elif then:
                        client.send(then)

    def open_ones():
        """How many the server has not closed."""
        poll = select.poll()
        for client in clients:
            poll.register(client, select.POLLRDHUP)
        return count - len(poll.poll(0))

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield open_ones
    finally:
        over.set()
        thread.join()
        for client in clients:
            client.close()


def http2_post(path):
    """Preface, settings, and the head of a POST without its end (RFC 9113), in plain HPACK literals."""
    def literal(index, value):
        return bytes([index, len(value)]) + value

    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

    head = b"\x83\x86" + literal(4, path.encode()) + literal(1, b"localhost")
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head)
