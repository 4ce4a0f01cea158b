#!/usr/bin/env python3
"""Compares the CPU time of a request with `server.timing` on and off, whole requests in one run. See README.md."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from process import ServerFailed, Tree, free_port
from run import ROOT

APPS = Path(__file__).resolve().parent / "apps"
HELLO = {"wsgi": {"app": "hello:app", "path": str(APPS), "workers": 1, "threads": 4}}
LAYERS = ["request_id", "security_headers", {"headers": {"response": {"set": {"x-a": "b"}}}}, {"body_limit": "1MiB"}, "compress", {"timeout": "30s"}]
STACKS = {
    "hello": {"app": HELLO},
    "hello under 6 layers": {"layers": LAYERS, "app": HELLO},
    "respond": {"app": {"respond": {"body": "Hello, World!"}}},
    "respond under 6 layers": {"layers": LAYERS, "app": {"respond": {"body": "Hello, World!"}}},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each, taken in turns (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=40000, help="requests of a measurement (default: %(default)s)")
    parser.add_argument("--stack", nargs="*", choices=STACKS, default=list(STACKS), help="which stacks (default: all)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    for stack in options.stack:
        with ExitStack() as stopped:
            trees = {}
            for timing in (False, True):
                trees[timing] = start(STACKS[stack], timing, options.ziggurat, cores[0], stopped)
            os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
            report(stack, trees, options)
            os.sched_setaffinity(0, set(cores))


def start(stack, timing, ziggurat, core, stopped):
    folder, port = Path(stopped.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))), free_port()
    pipeline = {"listen": f"127.0.0.1:{port}", "server": {"threads": 1, "timing": timing}, **stack}
    (folder / "pipeline.json").write_text(json.dumps(pipeline))
    command = [str(Path(ziggurat).resolve()), "run", str(folder / "pipeline.json")]
    tree = Tree([command], cwd=folder, env=os.environ, cores={core}, log=folder / "log", port=port)
    stopped.callback(tree.stop)
    tree.wait_for_port()
    load(port, 2000)
    return tree


def report(stack, trees, options):
    """Prints medians, and the median of the ratios of neighbours."""
    samples = {timing: [] for timing in trees}
    for turn in range(options.rounds):
        for timing in sorted(trees, reverse=turn % 2 == 1):
            before = trees[timing].run_time()
            load(trees[timing].port, options.requests)
            samples[timing].append((trees[timing].run_time() - before) * 1e6 / options.requests)
    off, on = (statistics.median(samples[timing]) for timing in (False, True))
    ratios = sorted(on / off for off, on in zip(samples[False], samples[True]))
    print(f"  {stack:24} off {off:7.2f} us  on {on:7.2f} us  ratio {statistics.median(ratios):5.3f} ({ratios[0]:5.3f} to {ratios[-1]:5.3f})", flush=True)


def load(port, count):
    """Sends requests over kept connections. All have to get 200."""
    command = ["h2load", "--h1", "-n", str(count), "-c", "64", "-t", "1", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if f"{count} 2xx" not in re.search("status codes: .*", said)[0]:
        raise ServerFailed(f"not all answers were 200\n{said}")


if __name__ == "__main__":
    sys.exit(main())
