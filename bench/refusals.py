#!/usr/bin/env python3
"""Compares the CPU time of a refusal by `access`, `rate_limit` and `limit` with that of a small static file, whole requests in one run. See README.md."""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from process import ServerFailed, Tree, free_port
from run import ROOT

EXPECTED = {"/static/page.txt": "2xx", "/access": "4xx", "/rate_limit": "4xx", "/limit": "5xx"}
"""Each path, and what all its requests get. The first one is what the others are compared with."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each path, taken in turns (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=40000, help="requests of a measurement (default: %(default)s)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, socket.create_server(("127.0.0.1", 0)) as silent:
        folder, port = Path(temporary), free_port()
        write(folder, port, silent.getsockname()[1])
        command = [str(Path(options.ziggurat).resolve()), "run", str(folder / "pipeline.json")]
        tree = Tree([command], cwd=folder, env=os.environ, cores={cores[0]}, log=folder / "log", port=port)
        try:
            tree.wait_for_port()
            os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
            # The one request that `limit` allows: nobody answers it.
            with socket.create_connection(("127.0.0.1", port)) as holder:
                holder.sendall(b"GET /limit HTTP/1.1\r\nHost: localhost\r\n\r\n")
                silent.accept()
                return report(tree, options)
        finally:
            tree.stop()


def write(folder, port, silent):
    (folder / "files").mkdir()
    (folder / "files" / "page.txt").write_text("x" * 1024)
    hello = {"respond": {"body": "Hello, World!"}}
    routes = [
        {"match": {"path": "/static/*"}, "mount": "/static", "app": {"static": "files"}},
        {"match": {"path": "/access"}, "layers": [{"access": [{"deny": "127.0.0.1"}, {"allow": "all"}]}], "app": hello},
        {"match": {"path": "/rate_limit"}, "layers": [{"rate_limit": {"allow": "1/h", "burst": 1}}], "app": hello},
        {"match": {"path": "/limit"}, "layers": [{"limit": {"at_most": 1, "queue": {"limit": 0}}}], "app": {"proxy": f"http://127.0.0.1:{silent}"}},
    ]
    pipeline = {"listen": f"127.0.0.1:{port}", "server": {"threads": 1}, "app": {"routes": routes}}
    (folder / "pipeline.json").write_text(json.dumps(pipeline))


def report(tree, options):
    """Prints medians and their ratios to the static file. Returns whether none is above it."""
    samples = {path: [] for path in EXPECTED}
    # The one request that `rate_limit` allows, and what the file's first request opens.
    for path in EXPECTED:
        load(tree.port, path, 16, None)
    for _ in range(options.rounds):
        for path, status in EXPECTED.items():
            before = tree.cpu()
            load(tree.port, path, options.requests, status)
            samples[path].append((tree.cpu() - before) * 1e6 / options.requests)
    costs = {path: statistics.median(taken) for path, taken in samples.items()}
    base = next(iter(costs.values()))
    for path, cost in costs.items():
        print(f"  {path:18} {cost:8.1f} us  {cost / base:6.2f}", flush=True)
    return all(cost <= base for cost in costs.values())


def load(port, path, count, status):
    """Sends requests over kept connections. All have to get this status."""
    command = ["h2load", "--h1", "-n", str(count), "-c", "16", "-t", "1", f"http://127.0.0.1:{port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if status and f"{count} {status}" not in re.search("status codes: .*", said)[0]:
        raise ServerFailed(f"not all answers to {path} were {status}\n{said}")


if __name__ == "__main__":
    sys.exit(not main())
