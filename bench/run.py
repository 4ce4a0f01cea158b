#!/usr/bin/env python3
"""Loads Ziggurat and its peers side by side and prints what each request costs them. See README.md."""

import argparse
import gzip
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import peers
import proxies
import report
import servers
import streams
from process import ServerFailed, Tree, busy, free_port
from scenarios import DEPOT_APP, NOTES_APP, SCENARIOS

ROOT = Path(__file__).resolve().parent.parent
MAX_REQUESTS = 5_000_000
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def main():
    options = arguments()
    if not options.no_install and any(name not in servers.NATIVE for name in options.peers):
        peers.install()
    if any(SCENARIOS[name].app in (NOTES_APP, DEPOT_APP) for name in options.scenario):
        peers.prepare_sites()
    bench = Bench(options)
    results = {}
    for name in options.scenario:
        scenario = SCENARIOS[name]
        rows = {server: (server, scenario) for server in options.peers if servers.applies(server, scenario)}
        if options.before:
            rows |= {f"{server} before": (server, scenario, options.before) for server in rows if server in servers.ZIGGURAT}
        results[name] = bench.interleaved(rows)
        print(report.table(scenario, results[name], options.base), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


class Bench:
    """Where servers and the load run."""

    def __init__(self, options):
        self.options = options
        self.load = peers.build_load()
        cores = sorted(os.sched_getaffinity(0))
        self.server_cores, self.load_cores = (set(cores[:1]), set(cores[-1:])) if options.cores == "1" else (set(cores), set(cores))
        print(f"{len(cores)} cores, {platform.machine()}, CPython {platform.python_version()}; servers on {len(self.server_cores)}; "
              f"{options.rounds} rounds of {options.seconds} s, interleaved; medians", flush=True)

    def interleaved(self, rows):
        """Measures each row, a server with a scenario and perhaps another build of Ziggurat, in turns. Gives its samples by its name, or why there are none."""
        samples = {}
        for _ in range(self.options.rounds):
            for row, (server, scenario, *program) in rows.items():
                if not isinstance(samples.get(row), str):
                    try:
                        options = argparse.Namespace(**vars(self.options) | {"ziggurat": program[0]}) if program else self.options
                        sample = measure(server, scenario, options, self.load, self.server_cores, self.load_cores)
                        samples.setdefault(row, []).append(sample)
                    except ServerFailed as failure:
                        samples[row] = str(failure)
        return samples


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--peers", nargs="+", choices=servers.NAMES, default=servers.NAMES, metavar="NAME", help=f"of {', '.join(servers.NAMES)} (default: all)")
    parser.add_argument("--before", metavar="PATH", help="another build of the program, which gets a row of its own beside each row of Ziggurat")
    shared_arguments(parser)
    return parser.parse_args()


def shared_arguments(parser):
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server, taken in turns (default: %(default)s)")
    parser.add_argument("--cores", choices=["1", "all"], default="1", help="1: each server on one core, the load on another; all: nothing pinned, a worker process per core")
    parser.add_argument("--base", default="ziggurat", help="the server that ratios are taken to (default: %(default)s)")
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--nginx", default=NGINX, help="the program (default: found on PATH)")
    parser.add_argument("--no-install", action="store_true", help="take the peers as they are")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")


def measure(name, scenario, options, load, server_cores, load_cores):
    """Starts a server, checks an answer of each group, warms it up, loads it, stops it."""
    with started(name, scenario, options, server_cores) as (tree, plan):
        run_load(load, plan, min(0.5, options.seconds), load_cores, tree)
        before, busy_before = tree.cpu(), busy(server_cores)
        sample = run_load(load, plan, options.seconds, load_cores, tree)
        cpu, all_cpu = tree.cpu() - before, busy(server_cores) - busy_before
        if server_cores != load_cores:
            sample["others"] = max(0.0, all_cpu - cpu) / (sample["seconds"] * len(server_cores))
        sample["cpu_us"] = cpu * 1e6 / sum(group["requests"] for group in sample["groups"])
        sample["memory_mib"] = tree.memory() / 2**20
        return sample


@contextmanager
def started(name, scenario, options, cores, environment=None, **more):
    """A server on `cores` (None: all), with `environment` in addition, that has answered each group rightly, and the load generator's plan for it."""
    cores = cores or os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        place = servers.Place(**{"port": free_port(), "folder": folder, "workers": len(cores), "ziggurat": str(Path(options.ziggurat).resolve()), "nginx": options.nginx} | more)
        if lacks := servers.missing(name, scenario, place):
            raise ServerFailed(f"not installed: {lacks}")
        servers.write_files(folder)
        # An upstream runs beside the load, so that it takes nothing of the proxy's core.
        place.upstream = free_port()
        behind = proxies.upstream(place, scenario.upstream, os.sched_getaffinity(0) - cores or cores) if scenario.upstream else nullcontext()
        with behind:
            tree = Tree(servers.commands(name, scenario, place), cwd=folder, env=servers.environment(name, scenario, folder) | (environment or {}), cores=cores, log=folder / "log", port=place.port)
            try:
                tree.wait_for_port()
                if scenario.http == "2":
                    yield tree, {"http": "2", "folder": folder, "groups": scenario.groups}
                else:
                    yield tree, {"address": f"127.0.0.1:{place.port}", "spin": scenario.upstream is None, "groups": [check(group, scenario, folder, tree) for group in scenario.groups]}
            finally:
                tree.stop()


def check(group, scenario, folder, tree):
    """Asks each request once and compares everything. Returns the load generator's plan for the group, with the octets just found right."""
    exchanges = []
    for number, ask in enumerate(group.asks):
        path = ask.request.split(b" ")[1].decode()
        answer, body = answer_to(ask.request, tree)
        if wrong := difference(ask, answer, body):
            raise ServerFailed(f"wrong answer in group `{group.name}` to {path}: {wrong}\n{tree.log_tail()}")
        if scenario.stack == "site":
            wait_for_line(folder / "access.log", path)
        request, expected = folder / f"{group.name}.{number}.request", folder / f"{group.name}.{number}.body"
        request.write_bytes(ask.request)
        expected.write_bytes(body)
        exchanges.append({"request": str(request), "status": 200, "body": str(expected)})
    return {"name": group.name, "connections": group.connections, "exchanges": exchanges}


def answer_to(request, tree):
    """The answer to one request on a connection of its own, and its body as it came."""
    # Something else may listen first (nginx before the server behind it), so the first answers may be 502.
    for attempt in range(100):
        with socket.create_connection(("127.0.0.1", tree.port), timeout=20) as stream:
            stream.sendall(request)
            answer = http.client.HTTPResponse(stream)
            try:
                answer.begin()
                body = answer.read()
            except (http.client.HTTPException, OSError) as error:
                raise ServerFailed(f"no answer: {error!r}\n{tree.log_tail()}") from error
        if answer.status != 502:
            break
        time.sleep(0.1)
    return answer, body


def difference(ask, answer, body):
    """What is wrong with an answer, or None."""
    if answer.status != 200:
        return f"status {answer.status}: {body[:200]}"
    for header, wanted in ask.headers.items():
        found = answer.getheader(header)
        words = {word.strip().lower() for word in (found or "").split(",")}
        if found is None or not (wanted is None or (wanted <= words if isinstance(wanted, set) else wanted == found)):
            return f"header {header} is {found!r}"
    plain = gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
    if ask.body is None and ask.holds in plain:
        ask.body = plain
    if plain != ask.body:
        return f"body of {len(plain)} octets instead of {len(ask.body or '')}, or other octets"
    return None


def wait_for_line(log, path):
    """Returns once the access log has a line about `path`."""
    for attempt in range(100):
        if log.exists() and path in log.read_text():
            return
        time.sleep(0.02)
    raise ServerFailed(f"no line about {path} in the access log")


def run_load(load, plan, seconds, cores, tree, requests=MAX_REQUESTS):
    """Runs the load generator for `seconds` or `requests`, on `cores` (None: any), and gives its report."""
    if plan.get("http") == "2":
        return streams.run_load(plan, seconds, requests if requests < MAX_REQUESTS else None, cores, tree)
    # With a core to itself the generator never sleeps.
    plan = plan | {"seconds": seconds, "requests": requests, "spin": plan.get("spin", True) and cores is not None and len(cores) == 1}
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    done = subprocess.run([load], input=json.dumps(plan), capture_output=True, text=True, preexec_fn=pin)
    if done.returncode:
        raise ServerFailed(f"{done.stderr.strip()}\n{tree.log_tail()}")
    tree.check_alive()
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
