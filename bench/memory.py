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

REQUESTS, CONNECTIONS, IDLE = 200_000, 10_000, 2_000
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
    scenario = SCENARIOS["hello"]
    with started(name, scenario, options, cores=None) as (tree, plan):
        group = plan["groups"][0]
        # Pools, caches and the allocator's arenas fill once.
        run_load(load, plan, 60, None, tree, requests=20_000)
        run_load(load, plan | {"groups": [group | {"reconnect": True}]}, 60, None, tree, requests=1_000)

        steps = [tree.memory()]
        run_load(load, plan, 300, None, tree, requests=REQUESTS)
        steps.append(tree.memory())
        run_load(load, plan | {"groups": [group | {"reconnect": True}]}, 300, None, tree, requests=CONNECTIONS)
        steps.append(tree.memory())
        with contextlib.ExitStack() as open_ones:
            idle = [open_ones.enter_context(socket.create_connection(("127.0.0.1", tree.port))) for _ in range(IDLE)]
            for _ in range(2):  # once to be past the first request, once more to see that all still live
                for connection in idle:
                    connection.sendall(scenario.groups[0].request)
                    read_answer(connection, scenario.groups[0].body)
            steps.append(tree.memory())

    by_requests, by_connections, by_idle = (after - before for before, after in zip(steps, steps[1:]))
    verdicts = [
        (by_requests < FLAT, f"{REQUESTS:,} requests: {by_requests / 2**20:+.2f} MiB ({steps[0] / 2**20:.1f} MiB before)"),
        (by_connections < FLAT, f"{CONNECTIONS:,} connections opened and closed: {by_connections / 2**20:+.2f} MiB"),
        (by_idle < IDLE * IDLE_LIMIT, f"{IDLE:,} idle connections: {by_idle / 2**20:+.2f} MiB, {by_idle / IDLE / 1024:.2f} KiB each (limit {IDLE_LIMIT // 1024})"),
    ]
    for good, text in verdicts:
        print(f"{'pass' if good else 'FAIL'}  {name}: {text}", flush=True)
    return all(good for good, _ in verdicts)


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
