#!/usr/bin/env python3
"""What four worker processes with the Django example cost in memory, after they have served it, imported each for itself and preloaded. See README.md."""

import argparse
from pathlib import Path

import peers
import servers
from process import ServerFailed
from run import ROOT, check, run_load, started
from scenarios import SCENARIOS

WORKERS, SECONDS, PATHS = 4, 3, ["/api/notes/", "/"]
ROWS = [(name, preload) for name in ("ziggurat", "gunicorn", "uwsgi") for preload in (None, PATHS)] + [("granian", None)]
"""Granian imports in each worker."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    options = parser.parse_args()
    options.nginx = None
    peers.environment()
    load = peers.build_load()
    peers.prepare_sites()
    print(f"{WORKERS} workers; memory of the whole tree in MiB, shared pages counted once, at the start and after {SECONDS} s of the API call and the page")
    for name, preload in ROWS:
        label = f"{name}{', preloaded' if preload else ''}"
        try:
            fresh, used = memory(name, preload, options, load)
            print(f"{label:24} {fresh:7.1f} {used:7.1f}", flush=True)
        except ServerFailed as failure:
            print(f"{label:24} {failure}")


def memory(name, preload, options, load):
    api, page = SCENARIOS["django-api"], SCENARIOS["django-page"]
    with started(name, api, options, None, workers=WORKERS, preload=preload) as (tree, plan):
        fresh = tree.memory()
        run_load(load, plan, SECONDS, None, tree)
        # The page on the same processes.
        plan["groups"] = [check(page.groups[0], page, Path(plan["groups"][0]["exchanges"][0]["body"]).parent, tree)]
        run_load(load, plan, SECONDS, None, tree)
        return fresh / 2**20, tree.memory() / 2**20


if __name__ == "__main__":
    main()
