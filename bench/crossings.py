#!/usr/bin/env python3
"""What it costs to go from native layers to Python and back: in a pipeline, and where another server calls a stack. See README.md."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import peers
import report
from run import Bench, shared_arguments
from scenarios import DEPOT_APP, SCENARIOS, Ask, Group, Scenario, assets, request

ORDERS = {"app": "", "native": "NN", "fused": "NNPPP", "one between": "NPNPP", "two between": "PNPNP"}
"""The same layers, Native and Python, in orders that cross to Python once, twice and three times. Each adds a header, so that an answer shows where it has been."""
MODES = ["ziggurat", "ziggurat-pool"]
COMPRESS = {"compress": {"with": ["gzip"], "level": 6, "above": "200B"}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", nargs="+", choices=["hello", "browser", "gunicorn"], default=["hello", "browser", "gunicorn"], help="layers around one of these scenarios, or stacks under gunicorn (default: all)")
    shared_arguments(parser)
    options = parser.parse_args()
    if not options.no_install:
        peers.install()
    peers.prepare_sites()
    bench = Bench(options)
    results = {}
    for name in options.table:
        results[name] = gunicorn(bench) if name == "gunicorn" else crossings(bench, SCENARIOS[name])
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


def crossings(bench, scenario):
    rows = {f"{mode}: {order}": (mode, ordered(scenario, letters)) for mode in MODES for order, letters in ORDERS.items()}
    samples = bench.interleaved(rows)
    print(report.table(scenario, samples, base="ziggurat: app"), flush=True)
    for mode in MODES:
        if not any(isinstance(samples[f"{mode}: {order}"], str) for order in ORDERS):
            cost = {order: median(sample["cpu_us"] for sample in samples[f"{mode}: {order}"]) for order in ORDERS}
            print(f"  {mode}: a native layer {(cost['native'] - cost['app']) / 2:.1f} us, a fused Python layer {(cost['fused'] - cost['native']) / 3:.1f} us, "
                  f"one crossing more {cost['one between'] - cost['fused']:.1f} us, two more {cost['two between'] - cost['fused']:.1f} us", flush=True)
    return samples


def ordered(scenario, letters):
    """The scenario under these layers."""
    layers, headers = [], {}
    for number, letter in enumerate(letters):
        name = f"X-Layer-{number}"
        headers[name] = "here"
        layers.append({"headers": {"response": {"append": {name: "here"}}}} if letter == "N" else {"wsgi": {"middleware": "stamp:Stamp", "kwargs": {"name": name}}})
    groups = [replace(group, asks=[replace(ask, headers=ask.headers | headers) for ask in group.asks]) for group in scenario.groups]
    return replace(scenario, layers=layers, groups=groups)


def gunicorn(bench):
    def page(app, compressed=True, layers=()):
        ask = Ask(request("/report/", headers={"Accept-Encoding": "gzip"}), assets.REPORT, headers={"Content-Encoding": "gzip", "Vary": {"accept-encoding"}} if compressed else {})
        return Scenario("report", "a Django page of 30 KB of HTML, gzip level 6", [Group("all", 64, [ask])], app=app, layers=list(layers))

    samples = bench.interleaved({
        "gunicorn, plain": ("gunicorn", page(DEPOT_APP, compressed=False)),
        "gunicorn, GZipMiddleware": ("gunicorn", page("depot.under_gzip:application")),
        "gunicorn, ziggurat.stack": ("gunicorn", page("depot.under_ziggurat:application")),
        "ziggurat, plain": ("ziggurat", page(DEPOT_APP, compressed=False)),
        "ziggurat, GZipMiddleware": ("ziggurat", page("depot.under_gzip:application")),
        "ziggurat, compress": ("ziggurat", page(DEPOT_APP, layers=[COMPRESS])),
    })
    print(report.table(page(DEPOT_APP), samples, base="gunicorn, GZipMiddleware"), flush=True)
    return samples


if __name__ == "__main__":
    main()
