"""Starts a server's processes and reads what they cost from /proc."""

import os
import random
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """A free port below the range that the system gives to clients, so that no connection of the load generator takes it meanwhile."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class ServerFailed(Exception):
    """The server did not start, died, or answered wrongly."""


class Tree:
    """Processes started together, with all that they start: one server."""

    def __init__(self, commands, *, cwd, env, cores, log, port):
        self.log = log
        self.port = port
        self.roots = []
        try:
            with open(log, "wb") as out:
                for command in commands:
                    self.roots.append(subprocess.Popen(
                        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                        preexec_fn=lambda: os.sched_setaffinity(0, cores),
                    ))
        except OSError as error:
            self.stop()
            raise ServerFailed(f"cannot start {command[0]}: {error}") from error

    def wait_for_port(self, seconds=20):
        """Returns once something listens on the port."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise ServerFailed(f"nothing listens on port {self.port} after {seconds} s\n{self.log_tail()}")

    def check_alive(self):
        for root in self.roots:
            if root.poll() is not None:
                raise ServerFailed(f"ended with {root.returncode}\n{self.log_tail()}")

    def log_tail(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-6:])

    def pids(self):
        """All living processes of the tree."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := _stat(entry)):
                children.setdefault(int(stat[1]), []).append(int(entry))
        found, waiting = [], [root.pid for root in self.roots]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting.extend(children.get(pid, ()))
        return found

    def cpu(self):
        """User and system seconds of the whole tree, with those of children that have ended and been reaped."""
        return sum(sum(map(int, stat[11:15])) for pid in self.pids() if (stat := _stat(pid))) / TICKS

    def run_time(self):
        """Seconds that the scheduler gave to the living threads of the tree: finer than `cpu`, without those that have ended."""
        total = 0
        for pid in self.pids():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as times:
                        total += int(times.read().split()[0])
            except OSError:
                pass
        return total / 1e9

    def memory(self):
        """Proportional set size of the tree in octets: resident memory, shared pages counted once."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
            except OSError:
                pass
        return total * 1024

    def stop(self):
        """Ends the tree: asks first, and after 5 s insists."""
        pids = self.pids()
        for root in self.roots:
            root.send_signal(signal.SIGTERM)
        for root in self.roots:
            try:
                root.wait(5)
            except subprocess.TimeoutExpired:
                root.kill()
                root.wait()
        for pid in pids:
            try:
                # Only what is still of our session, so that a reused number is never hit.
                if os.getsid(pid) in {root.pid for root in self.roots}:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def busy(cores):
    """User and system seconds of these cores, whoever used them."""
    with open("/proc/stat") as stat:
        rows = dict(line.split(maxsplit=1) for line in stat if line.startswith("cpu"))
    return sum(sum(map(int, rows[f"cpu{core}"].split()[:3])) for core in cores) / TICKS


def _stat(pid):
    """Fields of /proc/PID/stat after the name: [0] is the state, [1] the parent, [11:15] the CPU times."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return None
