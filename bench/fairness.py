#!/usr/bin/env python3
"""How long a small response takes beside clients that download large texts, compressed on the fly and plain. See README.md."""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import random
import socket
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from process import Tree, free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZE = 20 << 20
KINDS = {"plain": "identity", "gzip": "gzip", "br": "br", "zstd": "zstd"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", type=pathlib.Path)
    parser.add_argument("--clients", nargs="+", type=int, default=[0, 4, 16, 64])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    print(f"{'downloads':<10} {'clients':>7} {'probes':>7} {'median':>9} {'p99':>9} {'longest':>9} {'MB/s of text':>13}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = served(options.ziggurat.resolve(), pathlib.Path(folder))
        stack.callback(server.stop)
        for kind in options.kinds:
            for clients in options.clients:
                times, octets = measure(server.port, KINDS[kind], clients, options.seconds)
                times.sort()
                p99 = times[int(len(times) * 0.99) - 1]
                figures = f"{median(times) * 1e3:>6.1f} ms {p99 * 1e3:>6.1f} ms {times[-1] * 1e3:>6.1f} ms"
                print(f"{kind:<10} {clients:>7} {len(times):>7} {figures} {octets / options.seconds / 1e6:>13.0f}")


def served(program, folder):
    """A server of one large text and one small response."""
    words = [random.Random(1).choice(["ziggurat", "gate", "stair", "temple", "brick", "terrace"]) + str(n % 997) for n in range(4000)]
    text = " ".join(words).encode()
    (folder / "files").mkdir()
    (folder / "files/text.txt").write_bytes((text * (SIZE // len(text) + 1))[:SIZE])
    port = free_port()
    stack = {
        "listen": f"127.0.0.1:{port}",
        "layers": ["compress"],
        "app": {"routes": [{"match": {"path": "/probe"}, "app": {"respond": {"body": "ok"}}}, {"app": {"static": {"root": "files"}}}]},
    }
    (folder / "pipeline.json").write_text(json.dumps(stack))
    tree = Tree([[str(program), "run"]], cwd=folder, env=dict(os.environ), cores=os.sched_getaffinity(0), log=folder / "log", port=port)
    tree.wait_for_port()
    return tree


def measure(port, encoding, clients, seconds):
    """Seconds of each probe, and the octets of text that all downloads gave, which run in a process of their own."""
    over = time.monotonic() + seconds
    with ProcessPoolExecutor(1) as process:
        downloads = process.submit(download_all, port, encoding, clients, over)
        time.sleep(0.5)
        return probe(port, over), downloads.result()


def probe(port, over):
    """Sends a small request a hundred times a second, on one connection."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < over:
            start = time.monotonic()
            client.sendall(b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n")
            response = b""
            while not response.endswith(b"\r\n\r\nok"):
                response += client.recv(4096)
            times.append(time.monotonic() - start)
            assert response.startswith(b"HTTP/1.1 200"), response
            time.sleep(0.01)
    return times


def download_all(port, encoding, clients, over):
    return asyncio.run(gather(port, encoding, clients, over))


async def gather(port, encoding, clients, over):
    return sum(await asyncio.gather(*(download(port, encoding, over) for _ in range(clients))))


async def download(port, encoding, over):
    """Downloads the text again and again; gives the octets of text in whole downloads."""
    octets = 0
    while time.monotonic() < over:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /text.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: %s\r\n\r\n" % encoding.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert (f"content-encoding: {encoding}".encode() in head.lower()) == (encoding != "identity"), head
        while time.monotonic() < over and await reader.read(1 << 18):
            pass
        octets += SIZE if reader.at_eof() else 0
        writer.close()
    return octets


if __name__ == "__main__":
    main()
