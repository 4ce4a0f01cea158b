#!/usr/bin/env python3
"""Says what an idle WebSocket through `proxy` costs in the memory of the program, beyond the kernel's sockets.

It opens WebSockets through the program to a server of its own, sends one message through each, and compares the program's resident memory before and after. Ends with 1 above the limit.
"""

import argparse
import json
import pathlib
import re
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIRST = 200
"""Tunnels before the measurement: pools, threads and the allocator's arenas fill once."""
LIMIT = 8192
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = f"GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
MESSAGE = b"\x81\x85\x00\x00\x00\x00hello"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--tunnels", type=int, default=2000, help="how many are measured (default: %(default)s)")
    parser.add_argument("--layers", nargs="*", default=["access_log", "compress", "security_headers"], help="the layers above the proxy (default: %(default)s)")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = serve()
    with tempfile.TemporaryDirectory() as folder, started(options, folder, port) as program:
        address = re.search(rb"listening on http://(.*):(\d+)", program.stdout.readline())
        threading.Thread(target=program.stdout.read, daemon=True).start()
        address = (address[1].decode(), int(address[2]))
        tunnels = [connect(address) for _ in range(FIRST)]
        before = memory(program.pid)
        tunnels += [connect(address) for _ in range(options.tunnels)]
        each = (memory(program.pid) - before) / options.tunnels
        good = each < LIMIT
        print(f"{'pass' if good else 'FAIL'}  {options.tunnels} idle WebSockets through {', '.join([*options.layers, 'proxy'])}: {each:.0f} octets each (limit {LIMIT})")
        program.kill()
    sys.exit(0 if good else 1)


def started(options, folder, port):
    proxy = {"to": f"http://127.0.0.1:{port}", "limit": FIRST + options.tunnels}
    pipeline = {"listen": "127.0.0.1:0", "server": {"threads": 2}, "layers": options.layers, "app": {"routes": [{"app": {"proxy": proxy}}]}}
    pathlib.Path(folder, "pipeline.json").write_text(json.dumps(pipeline))
    return subprocess.Popen([options.ziggurat, "run"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def serve():
    """A server that accepts every WebSocket and sends its octets back. Returns its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    selector = selectors.DefaultSelector()

    def accept():
        client, _ = listener.accept()
        selector.register(client, selectors.EVENT_READ, lambda: answer(client))

    def answer(client):
        octets = client.recv(65536)
        if not octets:
            selector.unregister(client)
            client.close()
        else:
            client.sendall(ACCEPT if octets.startswith(b"GET ") else octets)

    def run():
        while True:
            for key, _ in selector.select():
                key.data()

    selector.register(listener, selectors.EVENT_READ, accept)
    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def connect(address):
    """A WebSocket through which a message has passed."""
    client = socket.create_connection(address)
    client.sendall(ASK)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    client.sendall(MESSAGE)
    echo = b""
    while len(echo) < len(MESSAGE):
        echo += client.recv(64)
    assert echo == MESSAGE, echo
    return client


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


if __name__ == "__main__":
    main()
