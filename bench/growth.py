#!/usr/bin/env python3
"""Measures how the cost of a request grows with connections, layers, routes and workers, and draws it. See README.md."""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import peers
import picture
from process import Tree, free_port
from run import ROOT, run_load
from scenarios import APPS, hello, request

ASKED = 16
"""Routes that are asked for in turn, spread over the whole table."""


def main():
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load, cores = peers.build_load(), sorted(os.sched_getaffinity(0))
    server_cores, load_cores = set(cores[:1]), set(cores[-1:])
    for name in options.series:
        across, points, kinds = SERIES[name]
        samples = {kind: {point: [] for point in points} for kind in kinds}
        memory = {kind: {} for kind in kinds}
        for _ in range(options.rounds):
            for kind, plan in kinds.items():
                for point in points:
                    cost, memory[kind][point] = measure(plan(point), options, load, server_cores, load_cores)
                    samples[kind][point].append(cost)
        costs = {kind: [statistics.median(samples[kind][point]) for point in points] for kind in kinds}
        report(name, points, samples, costs, memory)
        if options.pictures:
            title = f"CPU time of a request by {across}"
            (options.pictures / f"growth-{name}.svg").write_text(picture.lines(title, across, "us", points, costs))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="+", choices=SERIES, default=list(SERIES), metavar="NAME", help=f"of {', '.join(SERIES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point, taken in turns (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=60_000, help="requests of a measurement (default: %(default)s)")
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write a picture of each series there")
    return parser.parse_args()


def by_connections(count):
    return served({"app": {"respond": {"body": hello.BODY.decode()}}}, connections=count)


def by_layers(count):
    layers = [{"headers": {"response": {"set": {"x-layer": f"{nth}"}}}} for nth in range(count)]
    return served({"layers": layers, "app": {"respond": {"body": hello.BODY.decode()}}})


def by_paths(count):
    return routed(count, lambda nth: ({"path": f"/part{nth}/*"}, f"/part{nth}/page", "localhost"))


def by_hosts(count):
    return routed(count, lambda nth: ({"host": f"site{nth}.example"}, "/page", f"site{nth}.example"))


def by_workers(count):
    return served({"app": {"wsgi": {"app": "hello:app", "path": str(APPS), "workers": count, "threads": 1}}})


SERIES = {
    "connections": ("busy connections", [1, 10, 64, 100, 1_000, 10_000], {"respond": by_connections}),
    "layers": ("layers, each of which sets one header", [0, 1, 8, 64], {"respond": by_layers}),
    "routes": ("routes", [10, 100, 1_000, 10_000], {"paths": by_paths, "hosts": by_hosts}),
    "workers": ("workers on one core", [1, 2, 4, 8, 16], {"hello": by_workers}),
}


def served(pipeline, exchanges=None, connections=64):
    """What to serve, what to ask for in turn (a request and its body), and over how many connections."""
    return pipeline, exchanges or [(request("/"), hello.BODY)], connections


def routed(count, route):
    """Each route answers with its number, so that a wrong choice is seen."""
    routes = [{"match": route(nth)[0], "app": {"respond": {"body": f"route {nth}"}}} for nth in range(count)]
    asked = sorted({nth * (count - 1) // (ASKED - 1) for nth in range(ASKED)})
    exchanges = [(request(target, headers={"Host": host}), f"route {nth}".encode()) for nth, (_, target, host) in ((nth, route(nth)) for nth in asked)]
    return served({"app": {"routes": routes}}, exchanges)


def measure(point, options, load, server_cores, load_cores):
    """Microseconds of a request and octets of the whole server. Two loads of different length are compared, so that connections cost nothing."""
    pipeline, exchanges, connections = point
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder, port = Path(temporary), free_port()
        (folder / "pipeline.json").write_text(json.dumps({"listen": f"127.0.0.1:{port}", "server": {"threads": 1, "max_connections": 20_000}} | pipeline))
        command = [str(Path(options.ziggurat).resolve()), "run", str(folder / "pipeline.json")]
        tree = Tree([command], cwd=folder, env=os.environ, cores=server_cores, log=folder / "log", port=port)
        try:
            tree.wait_for_port(60)
            group = {"name": "all", "connections": connections, "exchanges": [files(folder, nth, *exchange) for nth, exchange in enumerate(exchanges)]}
            plan = {"address": f"127.0.0.1:{port}", "groups": [group]}
            visits = options.requests // len(exchanges)

            def cost(visits):
                before = settled(tree)
                done = run_load(load, plan, 120, load_cores, tree, requests=visits)["groups"][0]["requests"]
                return settled(tree) - before, done * len(exchanges)

            least = 2 * connections
            cost(least)
            (short, few), (long, many) = cost(least), cost(least + visits)
            return (long - short) * 1e6 / (many - few), tree.memory()
        finally:
            tree.stop()


def files(folder, nth, asked, body):
    """An exchange of the load generator's plan."""
    (folder / f"{nth}.request").write_bytes(asked)
    (folder / f"{nth}.body").write_bytes(body)
    return {"request": str(folder / f"{nth}.request"), "status": 200, "body": str(folder / f"{nth}.body")}


def settled(tree):
    """The run time of the tree once it does nothing any more."""
    before = tree.run_time()
    while True:
        time.sleep(0.1)
        after = tree.run_time()
        if after - before < 0.002:
            return after
        before = after


def report(name, points, samples, costs, memory):
    print(f"\n{name}: CPU us of a request, its ratio to the first, spread of the rounds, MiB of the server after it")
    for kind, values in costs.items():
        for point, cost in zip(points, values, strict=True):
            taken = samples[kind][point]
            spread = (max(taken) - min(taken)) / cost
            print(f"  {kind:10}{point:>8,}{cost:>9.2f}{cost / values[0]:>7.2f}{spread:>7.0%}{memory[kind][point] / 2**20:>8.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
