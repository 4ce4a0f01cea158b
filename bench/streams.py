"""Loads a server over HTTP/2 without TLS, by h2load."""

import os
import re
import subprocess
from statistics import quantiles

from process import ServerFailed

STREAMS = 8
"""Requests under way on a connection."""


def run_load(plan, seconds, requests, cores, tree):
    """Sends the one request of the one group for `seconds`, or so many times, and reports as the load generator of HTTP/1.1 does. Each response has to have its status and length."""
    [group] = plan["groups"]
    [ask] = group.asks
    path, log = ask.request.split(b" ")[1].decode(), plan["folder"] / "requests"
    log.unlink(missing_ok=True)
    amount = ["-n", str(requests)] if requests else ["-D", str(max(1, round(seconds)))]
    command = ["h2load", f"-c{group.connections // STREAMS}", f"-m{STREAMS}", *amount, "--log-file", str(log), f"http://127.0.0.1:{tree.port}{path}"]
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    before = os.times()
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=pin).stdout
    except FileNotFoundError as error:
        raise ServerFailed("not installed: h2load (apt-get install nghttp2-client)") from error
    tree.check_alive()
    requests, data = int(re.search(r"requests: .*?, (\d+) done", said)[1]), int(re.search(r"\((\d+)\) data", said)[1])
    if f"{requests} succeeded, 0 failed, 0 errored" not in said or f"status codes: {requests} 2xx" not in said or data != requests * len(ask.body):
        raise ServerFailed(f"wrong answers over HTTP/2\n{said}\n{tree.log_tail()}")
    times = [int(line.split()[2]) / 1e3 for line in log.read_text().splitlines()]
    at = quantiles(times, n=1000)
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", said)[1])
    figures = {"name": group.name, "requests": requests, "rate": rate, "p50_ms": at[499], "p99_ms": at[989], "p999_ms": at[998], "max_ms": max(times), "reconnects": 0}
    after, took = os.times(), requests / rate
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": took, "own_load": min(1.0, own / took), "groups": [figures]}
