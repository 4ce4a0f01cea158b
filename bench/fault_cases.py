"""What is done to the server under load, and what it may cost."""

import os
import signal
import threading
import time

import fault_memory
import fault_slow
from fault_site import Row, alive, program, site
from steady import Steady, once

__all__ = ["CASES", "program"]

THREADS = 2
"""Of each worker: so many requests are inside it at most."""


def judged(done, load, allowed, since, *, statuses=("502",), notes="", good=True):
    """What became of a steady load of which so many requests may have failed, in these ways only."""
    failed = load.failed()
    count = sum(failed.values())
    before = [took for when, took, what in load.answers if when < since]
    usual = sorted(before)[int(len(before) * 0.99)] if before else 0
    good = good and count <= allowed and all(what in statuses for what in failed) and load.count() > 0
    notes = "; ".join(filter(None, [notes, ", ".join(f"{count} {what}" for what, count in failed.items()), f"slowest {load.slowest():.2f} s"]))
    return Row(done, load.count(), count, allowed, load.p99(since) / usual if usual else None, notes, good)


def killed(options):
    """One worker of two, in every way in which a process ends."""
    with site(options, workers=2, threads=THREADS) as served:
        for done, harm in (
            ("kill -9 of one of two workers", lambda: os.kill(served.workers()[0], signal.SIGKILL)),
            ("os._exit() in a request", lambda: expect(served, "leave", "502")),
            ("SIGSEGV in a request", lambda: expect(served, "crash", "502")),
        ):
            with Steady(served.port) as load:
                time.sleep(options.seconds)
                since, before = time.monotonic(), served.workers()
                harm()
                served.wait_for("another worker", lambda: len(now := served.workers()) == 2 and set(now) != set(before))
                load.wait_for(500)
            yield judged(done, load, THREADS, since)
        with Steady(served.port, clients=16) as load:
            time.sleep(options.seconds)
            since, before = time.monotonic(), served.workers()
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            served.wait_for_workers(2, besides=before)
            load.wait_for(500)
        yield judged("kill -9 of all workers at once", load, 2 * THREADS, since)


def deadly_route(options):
    """A worker dies at every request of one route, and another route is served on."""
    with site(options, workers=2, threads=THREADS) as served:
        with Steady(served.port) as load, Steady(served.port, path="/leave", clients=2, pause=0.05) as deadly:
            time.sleep(max(4.0, options.seconds))
        deaths = deadly.count()
        good = set(deadly.outcomes()) <= {"502"} and deaths > 0 and load.slowest() < 5
        yield judged("every request of /leave ends its worker, 4 s", load, deaths * THREADS, 0, notes=f"{deaths} deaths, /leave: {dict(deadly.outcomes())}", good=good)


def stopped(options):
    """A worker that does nothing any more and does not end."""
    with site(options, workers=2, threads=THREADS, deadline="1s") as served:
        with Steady(served.port) as load:
            time.sleep(options.seconds)
            since, before = time.monotonic(), served.workers()
            os.kill(before[0], signal.SIGSTOP)
            served.wait_for("another worker", lambda: len(set(served.workers()) - set(before)) == 1)
            load.wait_for(500)
        yield judged("SIGSTOP of one of two workers, deadline 1 s", load, THREADS + 32, since, statuses=("504",))


def reloads(options):
    with site(options, workers=2, threads=THREADS) as served:
        for done, reload in (("ten SIGHUPs", served.hup), ("ten `ziggurat reload`", served.reload)):
            with Steady(served.port) as load:
                time.sleep(options.seconds)
                since = time.monotonic()
                for _ in range(10):
                    before = served.workers()
                    reload()
                    served.wait_for_workers(2, besides=before)
                    load.wait_for(50)
            yield judged(done, load, 0, since)
        with Steady(served.port) as load:
            time.sleep(options.seconds)
            since = time.monotonic()
            for _ in range(10):
                served.hup()
                os.kill(served.workers()[0], signal.SIGKILL)
                load.wait_for(50)
            served.wait_for_workers(2)
        yield judged("ten SIGHUPs, each with a kill -9", load, 10 * THREADS, since)


def recycles(options):
    for done, path, recycle in (
        ("ten recycles by requests", "/", {"requests": 200, "jitter": 50}),
        ("ten recycles by age", "/", {"age": "1s"}),
        ("ten recycles by memory", "/grow", {"memory": "100MiB"}),
    ):
        with site(options, workers=2, threads=THREADS, recycle=recycle) as served:
            pause = 0.004 if path == "/" else 0.02
            with Steady(served.port, path=path, pause=pause) as load:
                begin = time.monotonic()
                served.wait_for("ten recycles", lambda: served.log().count("the worker is replaced") >= 10, 60)
            yield judged(done, load, 0, begin, notes=f"in {time.monotonic() - begin:.1f} s")


def drain(options):
    """TERM under load, with requests inside that take a while."""
    for workers in ({"workers": 2}, {"workers": 2, "preload": True}):
        with site(options, threads=THREADS, **workers) as served:
            with Steady(served.port) as load, Steady(served.port, path="/sleep_in_c?seconds=0.3", body=b"slept", clients=3) as slow:
                time.sleep(options.seconds)
                since = time.monotonic()
                os.kill(served.front, signal.SIGTERM)
                served.tree.roots[0].wait(20)
                took = time.monotonic() - since
            wrong = {what for what in slow.outcomes() if what != "200"}
            good = served.tree.roots[0].returncode == 0 and took < 3 and not wrong
            yield judged(f"TERM, {', '.join(workers)}", load, 0, since, good=good, notes=f"ended after {took:.2f} s, exit code {served.tree.roots[0].returncode}; slow ones: {dict(slow.outcomes())}")


def stuck(options):
    """Code that does not end: 504 on time, its stack in the log, the worker back, the others unharmed."""
    for path, name, what in (
        ("busy_loop", "in busy_loop", "a busy loop"),
        ("deadlock", "in deadlock", "a deadlock"),
        ("sleep_in_c", "in sleep_in_c", "time.sleep(20)"),
        ("hold_interpreter", "in hold_interpreter", "C code that sleeps with the interpreter's lock"),
        ("backtrack", "in backtrack", "a regular expression that backtracks for ever"),
    ):
        # A request id proves whose stack it is.
        with site(options, workers=2, threads=THREADS, deadline="1s") as served, Steady(served.port) as load:
            time.sleep(options.seconds)
            since, before = time.monotonic(), set(served.workers())
            status, took = once(served.port, f"/{path}")
            on_time = status == "504" and took < 1.5
            served.wait_for_log(name, 15)
            shown = time.monotonic() - since
            if path not in ("busy_loop",):
                served.wait_for("another worker", lambda: len(set(served.workers()) - before) == 1)
            load.wait_for(500)
            load.stop()
            yield judged(what, load, 0, since, good=on_time, notes=f"{status} after {took:.2f} s, stack after {shown:.2f} s")


def orphans(options):
    """The front is killed: nobody is left."""
    for what, path, more in (
        ("kill -9 of the front, workers busy in Python", "busy_loop", {}),
        ("kill -9 of the front, workers in C with the lock", "hold_interpreter", {}),
        ("kill -9 of the front, workers forked", "hold_interpreter", {"preload": True}),
    ):
        with site(options, workers=2, threads=THREADS, **more) as served:
            inside = [threading.Thread(target=once, args=(served.port, f"/{path}"), daemon=True) for _ in range(2)]
            for thread in inside:
                thread.start()
            time.sleep(0.5)
            pids = served.pids()
            os.kill(served.front, signal.SIGKILL)
            since = time.monotonic()
            served.tree.roots[0].wait(5)
            while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < since + 2:
                time.sleep(0.01)
            took = time.monotonic() - since
            yield Row(what, len(inside), len(left), 0, None, f"{len(pids)} processes gone after {took:.2f} s" if not left else f"left: {left}", not left)


def expect(served, path, wanted):
    status, _ = once(served.port, f"/{path}")
    assert status == wanted, f"/{path} was answered {status} instead of {wanted}"


CASES = {
    "killed": killed,
    "deadly route": deadly_route,
    "stopped": stopped,
    "reloads": reloads,
    "recycles": recycles,
    "drain": drain,
    "slow clients": fault_slow.slow_clients,
    "streams": fault_slow.streams,
    "memory": fault_memory.memory,
    "stuck": stuck,
    "orphans": orphans,
}
