#!/usr/bin/env python3
"""Compares `rate_limit` without a store, in memory and in Redis, and measures requests while Redis is stopped. See README.md."""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from process import Tree, free_port
from run import ROOT
from timing import load

LIMIT = {"rate_limit": {"allow": "1000000/s", "per": []}}
STACKS = {"no limit": [], "memory": [{"rate_limit": {**LIMIT["rate_limit"], "shared": False}}], "store": [LIMIT]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each, taken in turns (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=20000, help="requests of a measurement (default: %(default)s)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stopped:
        redis, socket = start_redis(stopped)
        trees = {name: start(layers, socket, options.ziggurat, cores[0], stopped) for name, layers in STACKS.items()}
        os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
        cost(trees, options)
        away(trees["store"].port, redis)


def start_redis(stopped):
    folder = stopped.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
    socket = f"{folder}/redis.sock"
    command = ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--dir", folder, "--unixsocket", socket]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stopped.callback(redis.wait)
    stopped.callback(redis.kill)
    while not os.path.exists(socket):
        time.sleep(0.01)
    return redis, socket


def start(layers, socket, ziggurat, core, stopped):
    folder, port = Path(stopped.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))), free_port()
    server = {"threads": 1, "store": f"unix:{socket}"}
    pipeline = {"listen": f"127.0.0.1:{port}", "server": server, "layers": layers, "app": {"respond": {"body": "Hello, World!"}}}
    (folder / "pipeline.json").write_text(json.dumps(pipeline))
    command = [str(Path(ziggurat).resolve()), "run", str(folder / "pipeline.json")]
    tree = Tree([command], cwd=folder, env=os.environ, cores={core}, log=folder / "log", port=port)
    stopped.callback(tree.stop)
    tree.wait_for_port()
    load(port, 2000)
    return tree


def cost(trees, options):
    """Prints the CPU time of a request in the server's process, and the time of one after the other: medians, and their ratios to those without a limit."""
    cpu, wait = ({name: [] for name in trees} for _ in range(2))
    for turn in range(options.rounds):
        names = list(trees)
        for name in names[turn % 3 :] + names[: turn % 3]:
            before = trees[name].cpu()
            load(trees[name].port, options.requests)
            cpu[name].append((trees[name].cpu() - before) * 1e6 / options.requests)
            wait[name].append(statistics.median(times(trees[name].port, 1000)) * 1e6)
    for name in trees:
        ratios = [statistics.median(a / b for a, b in zip(samples[name], samples["no limit"])) for samples in (cpu, wait)]
        print(f"  {name:10} cpu {statistics.median(cpu[name]):7.2f} us  ratio {ratios[0]:5.2f}   alone {statistics.median(wait[name]):7.1f} us  ratio {ratios[1]:5.2f}", flush=True)


def away(port, redis):
    """Prints the longest times of requests, one after the other, with Redis and after it is stopped."""
    answering = sorted(times(port, 2000))
    redis.send_signal(signal.SIGSTOP)
    stopped = sorted(times(port, 2000))
    redis.send_signal(signal.SIGCONT)
    for name, sample in [("answering", answering), ("stopped", stopped)]:
        last = "  ".join(f"{seconds * 1e3:.2f}" for seconds in sample[-4:])
        print(f"  redis {name:10} median {statistics.median(sample) * 1e3:6.3f} ms  the longest of 2000 {last} ms", flush=True)


def times(port, count):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    sample = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        sample.append(time.perf_counter() - begin)
        assert answer.status == 200, answer.status
    connection.close()
    return sample


if __name__ == "__main__":
    main()
