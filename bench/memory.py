#!/usr/bin/env python3
"""Says whether Ziggurat's memory stays flat over requests and connections, and what an idle connection costs. See README.md."""

import argparse
import contextlib
import resource
import socket
import sys

import peers
import servers
from process import ServerFailed
from run import ROOT, run_load, started
from scenarios import SCENARIOS

REQUESTS, CONNECTIONS, SOME, IDLE = 200_000, 10_000, 500, 2_000
FLAT = 2 * 2**20
"""Growth in octets up to which memory counts as flat: less than 11 octets a request."""
IDLE_LIMIT = 4096


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--server", nargs="+", choices=servers.NAMES, default=list(servers.ZIGGURAT), metavar="NAME", help="which servers (default: %(default)s)")
    options = parser.parse_args()
    options.nginx = None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, IDLE + 1000)), hard))
    peers.environment()
    load = peers.build_load()
    passed = [verdict(name, options, load) for name in options.server]
    sys.exit(0 if all(passed) else 1)


def verdict(name, options, load):
    try:
        return run(name, options, load)
    except ServerFailed as failure:
        print(f"FAIL  {name}: {failure}")
        return False


def run(name, options, load):
    verdicts = [*flat(name, options, load), idle(name, options, load)]
    for good, text in verdicts:
        print(f"{'pass' if good else 'FAIL'}  {name}: {text}", flush=True)
    return all(good for good, _ in verdicts)


def flat(name, options, load):
    """Requests, then connections."""
    with started(name, SCENARIOS["hello"], options, cores=None) as (tree, plan):
        anew = plan | {"groups": [plan["groups"][0] | {"reconnect": True}]}
        # Pools, caches and the allocator's arenas fill once.
        run_load(load, plan, 60, None, tree, requests=20_000)
        run_load(load, anew, 60, None, tree, requests=1_000)
        before = tree.memory()
        run_load(load, plan, 300, None, tree, requests=REQUESTS)
        between = tree.memory()
        run_load(load, anew, 300, None, tree, requests=CONNECTIONS)
        grown = [between - before, tree.memory() - between]
    yield grown[0] < FLAT, f"{REQUESTS:,} requests: {grown[0] / 2**20:+.2f} MiB ({before / 2**20:.1f} MiB before)"
    yield grown[1] < FLAT, f"{CONNECTIONS:,} connections opened and closed: {grown[1] / 2**20:+.2f} MiB"


def idle(name, options, load):
    """Connections that have had one answer and stay. In a fresh process, so that they do not hide in memory that others have left."""
    asked = SCENARIOS["hello"].groups[0].asks[0]
    with started(name, SCENARIOS["hello"], options, cores=None) as (tree, plan), contextlib.ExitStack() as open_ones:
        run_load(load, plan, 60, None, tree, requests=2_000)

        def open_more(count):
            more = [open_ones.enter_context(socket.create_connection(("127.0.0.1", tree.port))) for _ in range(count)]
            for connection in more:
                connection.sendall(asked.request)
                read_answer(connection, asked.body)
            return more

        # The first ones fill what the load has left behind.
        some = open_more(SOME)
        before = tree.memory()
        some += open_more(IDLE)
        grown = tree.memory() - before
        for connection in some:
            connection.sendall(asked.request)
            read_answer(connection, asked.body)
    return grown < IDLE * IDLE_LIMIT, f"{IDLE:,} idle connections: {grown / 2**20:+.2f} MiB, {grown / IDLE / 1024:.2f} KiB each (limit {IDLE_LIMIT // 1024})"


def read_answer(connection, body):
    """Reads until the answer's body has come."""
    answer = b""
    while not answer.endswith(body):
        piece = connection.recv(65536)
        if not piece:
            raise ServerFailed("an idle connection was closed")
        answer += piece


if __name__ == "__main__":
    main()
