#!/usr/bin/env python3
"""Watches a server under a steady rate of requests by `ziggurat top` and the dashboard, and compares its CPU time with that of one that nobody watches. See README.md."""

import argparse
import fcntl
import json
import os
import pty
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from process import ServerFailed, Tree, free_port
from run import ROOT

LAYERS = ["request_id", "security_headers", {"body_limit": "1MiB"}, "compress", {"timeout": "30s"}]
CONNECTIONS = 50
PERIOD = 2
"""Seconds between two renewals of the dashboard, as its page does it."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=10_000, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=6, help="of a measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, taken in turns (default: %(default)s)")
    options = parser.parse_args()
    options.ziggurat = str(Path(options.ziggurat).resolve())
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        folder, port = Path(folder), free_port()
        pipeline = {
            "listen": f"127.0.0.1:{port}",
            "server": {"threads": 1, "timing": True, "control": "control.sock"},
            "layers": LAYERS,
            "app": {"routes": [{"match": {"path": "/dashboard"}, "app": {"dashboard": {"public": True}}}, {"app": {"respond": {"body": "Hello, World!"}}}]},
        }
        (folder / "pipeline.json").write_text(json.dumps(pipeline))
        tree = Tree([[options.ziggurat, "run", "pipeline.json"]], cwd=folder, env=os.environ, cores={cores[0]}, log=folder / "log", port=port)
        try:
            tree.wait_for_port()
            os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
            report(tree, folder, options)
        finally:
            tree.stop()


def report(tree, folder, options):
    watchers = {"nobody": nobody, "top": top, "dashboard": dashboard}
    samples = {name: [] for name in watchers}
    for turn in range(options.rounds):
        for name in sorted(watchers, reverse=turn % 2 == 1):
            with watchers[name](tree, folder, options) as views:
                before = tree.run_time()
                rate, slowest = load(tree.port, options)
                samples[name].append(((tree.run_time() - before) * 1e6 / (options.rate * options.seconds), rate, slowest))
            if name != "nobody" and views[0] < options.seconds // (2 * PERIOD):
                raise ServerFailed(f"{name} was renewed {views[0]} times in {options.seconds} s")
    alone = statistics.median(cpu for cpu, _, _ in samples["nobody"])
    for name, taken in samples.items():
        cpu, rate, slowest = (statistics.median(column) for column in zip(*taken))
        print(f"  watched by {name:10} {cpu:7.2f} us  ratio {cpu / alone:5.3f}  {rate:8.0f} requests/s, slowest {slowest:.1f} ms", flush=True)


@contextmanager
def nobody(*_):
    yield [0]


@contextmanager
def top(tree, folder, options):
    """`ziggurat top` in a terminal that is read. Each screen has one line with the rate."""
    views = [0]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm"
        os.execv(options.ziggurat, [options.ziggurat, "top", "pipeline.json"])

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def read():
        while True:
            try:
                octets = os.read(terminal, 1 << 16)
            except OSError:
                return
            if not octets:
                return
            views[0] += octets.count(b"req/s,")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield views
    finally:
        os.write(terminal, b"q")
        os.waitpid(child, 0)
        reader.join(5)
        os.close(terminal)


@contextmanager
def dashboard(tree, *_):
    """What the page of the dashboard does in a browser."""
    views, stop = [0], threading.Event()

    def renew():
        while not stop.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{tree.port}/dashboard?status", timeout=10) as answer:
                json.load(answer)
            views[0] += 1
            stop.wait(PERIOD)

    reader = threading.Thread(target=renew)
    reader.start()
    try:
        yield views
    finally:
        stop.set()
        reader.join(15)


def load(port, options):
    """Sends requests at the rate. All have to get 200. Returns the rate that was reached and the longest time in ms."""
    count = options.rate * options.seconds
    command = ["h2load", "--h1", "-n", str(count), "-c", str(CONNECTIONS), "-t", "1", "--rps", str(options.rate / CONNECTIONS), f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if f"{count} 2xx" not in re.search("status codes: .*", said)[0]:
        raise ServerFailed(f"not all answers were 200\n{said}")
    seconds = re.search(r"finished in ([\d.]+)(ms|s)", said)
    longest = re.search(r"time for request: +\S+ +([\d.]+)(us|ms|s)", said)
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}
    return count / (float(seconds[1]) * unit[seconds[2]] / 1e3), float(longest[1]) * unit[longest[2]]


if __name__ == "__main__":
    sys.exit(main())
