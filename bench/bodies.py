#!/usr/bin/env python3
"""Streams large bodies through the proxy in both directions to slow ends, and prints how much memory the front took at most. See README.md."""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from process import Tree, free_port
from run import ROOT

PIECE = 64 * 2**10
WARM = 4 * 2**20
"""Octets that pass first: what the first requests leave behind for ever is not meant."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--mib", type=int, default=500, help="the length of each body (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=50, help="MiB a second that the slow end takes (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=8.0, help="MiB that the front may grow by (default: %(default)s)")
    options = parser.parse_args()
    port, upstream = free_port(), Upstream(options.rate)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        (folder / "pipeline.json").write_text(json.dumps({"listen": f"127.0.0.1:{port}", "app": {"proxy": f"http://127.0.0.1:{upstream.port}"}}))
        command = [str(Path(options.ziggurat).resolve()), "run", str(folder / "pipeline.json")]
        tree = Tree([command], cwd=folder, env=dict(os.environ), cores=os.sched_getaffinity(0), log=folder / "log", port=port)
        try:
            tree.wait_for_port()
            passed = [direction(tree, name, work, options) for name, work in [("down", download), ("up", upload)]]
        finally:
            tree.stop()
    sys.exit(0 if all(passed) else 1)


def direction(tree, name, work, options):
    """Passes a body in one direction, and compares the peak of the front with what it had before."""
    work(tree.port, WARM, options.rate)
    front, length = tree.roots[0].pid, options.mib * 2**20
    # Resets the peak to what the process has now (proc(5)).
    Path(f"/proc/{front}/clear_refs").write_text("5")
    before, begin = status(front, "VmRSS"), time.monotonic()
    work(tree.port, length, options.rate)
    seconds, peak = time.monotonic() - begin, status(front, "VmHWM")
    good = peak - before < options.limit * 2**20
    print(f"{'pass' if good else 'FAIL'}  {options.mib} MiB {name} in {seconds:.1f} s: {before / 2**20:.1f} MiB before, {peak / 2**20:.1f} MiB at the peak ({(peak - before) / 2**20:+.1f})", flush=True)
    return good


def status(pid, field):
    """A field of /proc/PID/status in octets."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def download(port, length, rate):
    """Reads an answer slowly, and checks each octet."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % length)
        stream = client.makefile("rb")
        while stream.readline() != b"\r\n":
            pass
        read_slowly(stream, length, rate)
        assert not stream.read(1), "octets came after the end"


def upload(port, length, rate):
    """Sends as fast as it goes. The upstream reads slowly, checks each octet and answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length)
        for _ in range(length // PIECE):
            client.sendall(CONTENT)
        answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"whole"), answer[:200]


CONTENT = bytes(range(256)) * (PIECE // 256)


def read_slowly(stream, length, rate):
    begin, read = time.monotonic(), 0
    while read < length:
        assert stream.read(PIECE) == CONTENT, f"other octets than were sent, after {read}"
        read += PIECE
        time.sleep(max(0.0, begin + read / (rate * 2**20) - time.monotonic()))


class Upstream:
    """Generates bodies, and takes them."""

    def __init__(self, rate):
        self.rate = rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client):
        with client:
            stream = client.makefile("rb")
            head = [line := stream.readline()]
            while line not in (b"\r\n", b""):
                head.append(line := stream.readline())
            if head[0].startswith(b"GET"):
                length = int(head[0].split()[1][1:])
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length)
                for _ in range(length // PIECE):
                    client.sendall(CONTENT)
            else:
                length = next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length"))
                read_slowly(stream, length, self.rate)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole")


if __name__ == "__main__":
    main()
