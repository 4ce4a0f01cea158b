#!/usr/bin/env python3
"""Says where the time of a request goes: by process and by library, with system calls, switches and allocations. See README.md."""

import argparse
import os
import re
import signal
import struct
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import peers
import servers
from process import TICKS, ServerFailed
from run import NGINX, ROOT, run_load, started
from scenarios import DEPOT_APP, NOTES_APP, SCENARIOS

SHOWN = 0.01
"""Libraries with less than this share of the time, and system calls rarer than that per request, are left out."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--server", nargs="+", choices=servers.NAMES, default=list(servers.ZIGGURAT)[:2], metavar="NAME", help="which servers (default: %(default)s)")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=["hello", "django-api"], metavar="NAME", help="default: %(default)s")
    parser.add_argument("--requests", type=int, help="of each measurement (default: 40000, of Django 4000)")
    parser.add_argument("--nginx", default=NGINX, help="the program (default: found on PATH)")
    options = parser.parse_args()
    if any(name not in servers.NATIVE for name in options.server):
        peers.install()
    if any(SCENARIOS[name].app in (NOTES_APP, DEPOT_APP) for name in options.scenario):
        peers.prepare_sites()
    load = peers.build_load()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        counter = Path(temporary) / "allocations.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", counter, Path(__file__).with_name("allocations.c")], check=True)
        for scenario in map(SCENARIOS.get, options.scenario):
            for name in filter(lambda name: servers.applies(name, scenario), options.server):
                try:
                    print(report(name, scenario, Server(name, scenario, options, load, counter)), flush=True)
                except ServerFailed as failure:
                    print(f"\n{scenario.name}, {name}: {failure}", flush=True)


class Server:
    """Measures one server under one scenario: each kind of figure in a run of its own, so that no tool slows what another counts."""

    def __init__(self, name, scenario, options, load, counter):
        self.name, self.scenario, self.options, self.load, self.counter = name, scenario, options, load, counter
        self.requests = options.requests or (4_000 if scenario.app in (NOTES_APP, DEPOT_APP) else 40_000)
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.load_core = {cores[0]}, {cores[-1]}

    @contextmanager
    def running(self, **environment):
        """A warm server: its processes with their names, and a function that sends the requests."""
        with started(self.name, self.scenario, self.options, self.core, environment=environment) as (tree, plan):
            def send(requests=self.requests):
                run_load(self.load, plan, 300, self.load_core, tree, requests=requests)

            send(max(self.requests // 10, 500))
            yield {pid: title(pid) for pid in tree.pids()}, send

    def times(self):
        """User and kernel microseconds, voluntary and forced switches per request, by process."""
        with self.running() as (processes, send):
            before = {pid: usage(pid) for pid in processes}
            send()
            after = {pid: usage(pid) for pid in processes}
        factors = (1e6 / TICKS, 1e6 / TICKS, 1, 1)
        return by_name(processes, {pid: [factor * (late - early) / self.requests for factor, early, late in zip(factors, before[pid], after[pid])] for pid in processes})

    def calls(self):
        """System calls per request by process: a counter of names."""
        with self.running() as (processes, send):
            watches = {pid: Perf(["stat", "-x", ",", "-e", "syscalls:sys_enter_*"], pid) for pid in processes}
            for watch in watches.values():
                watch.enable()
            send()
            said = {pid: watch.stop() for pid, watch in watches.items()}
        found = {}
        for pid, lines in said.items():
            counts = found.setdefault(processes[pid], Counter())
            for count, call in re.findall(r"^(\d+),[^,]*,syscalls:sys_enter_(\w+)", lines, re.M):
                counts[call] += int(count) / self.requests
        return found

    def libraries(self):
        """Share of the samples of the whole server by the file that holds the code."""
        with self.running() as (processes, send), tempfile.NamedTemporaryFile(prefix="bench-") as data:
            watch = Perf(["record", "-e", "cpu-clock", "-F", "2999", "-o", data.name], *processes)
            watch.enable()
            send()
            watch.stop()
            report = subprocess.run(["perf", "report", "-i", data.name, "--stdio", "--sort", "dso"], capture_output=True, text=True).stdout
        return {library: float(share) / 100 for share, library in re.findall(r"^\s+([\d.]+)%\s+(\S+)", report, re.M)}

    def allocations(self):
        """Blocks and octets from the allocator per request, by process."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            with self.running(LD_PRELOAD=str(self.counter), ALLOCATIONS=folder) as (processes, send):
                read = lambda pid: struct.unpack("QQ", Path(folder, str(pid)).read_bytes()) if Path(folder, str(pid)).exists() else (0, 0)
                before = {pid: read(pid) for pid in processes}
                send()
                after = {pid: read(pid) for pid in processes}
        return by_name(processes, {pid: [(late - early) / self.requests for early, late in zip(before[pid], after[pid])] for pid in processes})


class Perf:
    """A `perf` that is attached to processes and counts from `enable` to `stop`."""

    def __init__(self, command, *pids):
        (orders, self.orders), (self.answers, answers) = os.pipe(), os.pipe()
        attach = ["-D", "-1", "--control", f"fd:{orders},{answers}", "-p", ",".join(map(str, pids))]
        self.process = subprocess.Popen(["perf", *command, *attach], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(orders, answers))
        os.close(orders)
        os.close(answers)

    def enable(self):
        os.write(self.orders, b"enable\n")
        if b"ack" not in os.read(self.answers, 16):
            raise ServerFailed(f"perf does not start: {self.process.communicate()[1]}")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate()[1]
        os.close(self.orders)
        os.close(self.answers)
        return said


def title(pid):
    """What a process calls itself, in few words."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    return " ".join([Path(words[0]).name, *(word for word in words[1:3] if not word.startswith(("-", "/")))]) if words else "?"


def usage(pid):
    """Ticks of user and kernel time, voluntary and forced switches of all threads of a process."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    switches = [0, 0]
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for index, kind in enumerate(("voluntary", "nonvoluntary")):
            switches[index] += int(re.search(rf"^{kind}_ctxt_switches:\s*(\d+)", status.read_text(), re.M)[1])
    return [int(stat[11]), int(stat[12]), *switches]


def by_name(processes, figures):
    """Sums the figures of processes of one name."""
    sums = {}
    for pid, values in figures.items():
        known = sums.setdefault(processes[pid], [0] * len(values))
        sums[processes[pid]] = [one + other for one, other in zip(known, values)]
    return sums


def report(name, scenario, server):
    times, calls, libraries, allocations = server.times(), server.calls(), server.libraries(), server.allocations()
    total = sum(user + kernel for user, kernel, *_ in times.values())
    lines = [f"\n{scenario.name}, {name}: {total:.1f} us per request",
             f"  {'process':<32}{'user us':>9}{'kernel us':>11}{'calls':>8}{'switches':>10}{'forced':>8}{'blocks':>8}{'octets':>9}"]
    for process, (user, kernel, voluntary, forced) in times.items():
        blocks, octets = allocations.get(process, (0, 0))
        row = user, kernel, sum(calls.get(process, Counter()).values()), voluntary, forced, blocks, octets
        if any(figure >= SHOWN for figure in row):
            lines.append("  {:<32}{:>9.1f}{:>11.1f}{:>8.2f}{:>10.2f}{:>8.2f}{:>8.1f}{:>9,.0f}".format(process, *row))
    for process, counts in calls.items():
        often = [f"{call} {count:.2f}" for call, count in counts.most_common() if count >= SHOWN]
        if often:
            lines.append(f"  calls of {process}: {', '.join(often)}")
    shares = [f"{Path(library).name} {share:.0%}" for library, share in libraries.items() if share >= SHOWN]
    return "\n".join([*lines, f"  time by library: {', '.join(shares)}"])


if __name__ == "__main__":
    main()
