#!/usr/bin/env python3
"""Counts the system calls per request of a server on one core, with strace. See README.md."""

import argparse
import os
import signal
import subprocess
import time

import peers
import servers
from run import NGINX, ROOT, run_load, started
from scenarios import SCENARIOS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--server", nargs="+", choices=servers.NAMES, default=list(servers.ZIGGURAT), metavar="NAME", help="which servers (default: %(default)s)")
    parser.add_argument("--scenario", choices=SCENARIOS, default="hello", help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=20_000, help="default: %(default)s")
    options = parser.parse_args()
    options.nginx = NGINX
    load = peers.build_load()
    core = {min(os.sched_getaffinity(0))}
    for name in options.server:
        with started(name, SCENARIOS[options.scenario], options, core) as (tree, plan):
            run_load(load, plan, 60, None, tree, requests=2_000)
            counts = traced(tree, lambda: run_load(load, plan, 120, None, tree, requests=options.requests))
        print(f"{name}, {options.scenario}: {sum(counts.values()) / options.requests:.2f} system calls per request")
        for call, count in sorted(counts.items(), key=lambda item: -item[1]):
            if count * 100 >= options.requests:
                print(f"  {count / options.requests:6.2f}  {call}")


def traced(tree, work):
    """Runs `work` while strace counts the calls of the tree's processes; gives calls by name."""
    summary = tree.log.with_suffix(".strace")
    attach = [argument for pid in tree.pids() for argument in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-o", str(summary), *attach], stderr=subprocess.PIPE, text=True)
    tracer.stderr.readline()  # "Process N attached"
    time.sleep(0.3)
    work()
    tracer.send_signal(signal.SIGINT)
    tracer.communicate()
    rows = (line.split() for line in summary.read_text().splitlines())
    return {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit() and row[1] != "total"}


if __name__ == "__main__":
    main()
