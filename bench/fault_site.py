"""A server to be broken: a pipeline of our own around apps/faults.py, and a look at its processes."""

import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import peers
from process import ServerFailed, Tree, free_port

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Row:
    done: str
    requests: int
    failed: int
    allowed: int
    ratio: float | None
    notes: str
    good: bool


def program():
    """The release build, or else the debug build."""
    release = ROOT / "target/release/ziggurat"
    return release if release.exists() else ROOT / "target/debug/ziggurat"


class Site:
    def __init__(self, tree, folder, command):
        self.tree, self.port, self.folder, self.command = tree, tree.port, folder, command
        self.front = tree.roots[0].pid

    def pids(self):
        """All living processes of the server, also those whose parent is gone: the front began a session."""
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _session(entry) == self.front and alive(entry)]

    def workers(self):
        """Living worker processes, without templates."""
        return [pid for pid in self.pids() if pid != self.front and b"worker " in _title(pid) and b"template" not in _title(pid)]

    def wait_for(self, what, condition, seconds=30):
        until = time.monotonic() + seconds
        while not condition():
            self.tree.check_alive()
            if time.monotonic() > until:
                raise ServerFailed(f"waited in vain: {what}\n{self.tree.log_tail()}")
            time.sleep(0.01)

    def wait_for_workers(self, count, besides=()):
        """Until so many are there, none of them of `besides`."""
        self.wait_for(f"{count} workers", lambda: len(now := self.workers()) == count and not set(now) & set(besides))

    def log(self):
        return Path(self.tree.log).read_text(errors="replace")

    def wait_for_log(self, text, seconds=30):
        self.wait_for(f"`{text}` in the log", lambda: text in self.log(), seconds)

    def hup(self):
        os.kill(self.front, signal.SIGHUP)

    def reload(self):
        done = subprocess.run([self.command, "reload"], cwd=self.folder, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ServerFailed(f"`ziggurat reload` failed: {done.stderr}")


@contextmanager
def site(options, *, keep=None, routes=(), drain="10s", **wsgi):
    """A running server whose app has these options."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    port = free_port()
    app = {"wsgi": {"app": "faults:app", "path": str(peers.BENCH / "apps")} | wsgi}
    stack = {"app": app} if not routes else {"app": {"routes": [*routes, {"app": "site"}]}, "apps": {"site": app}}
    pipeline = {"listen": f"127.0.0.1:{port}", "server": {"drain": drain, "control": "control.sock"}, "layers": ["request_id"]} | stack
    (folder / "pipeline.json").write_text(json.dumps(pipeline, indent=2))
    command = Path(options.ziggurat).resolve()
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    tree = Tree([[command, "run", "pipeline.json"]], cwd=folder, env=environment, cores=os.sched_getaffinity(0), log=folder / "log", port=port)
    try:
        tree.wait_for_port(60)
        yield Site(tree, folder, command)
    finally:
        if options.keep_logs:
            Path(options.keep_logs).mkdir(parents=True, exist_ok=True)
            (Path(options.keep_logs) / f"{time.time():.0f}-{port}.log").write_bytes((folder / "log").read_bytes())
        tree.stop()


def resident(pid):
    """Resident memory in octets without pages of files; 0 where the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024
    except OSError:
        return 0


def alive(pid):
    """Whether there is such a process, that is not only waiting to be waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _session(pid):
    try:
        return os.getsid(int(pid))
    except OSError:
        return None


def _title(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
