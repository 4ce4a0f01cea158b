"""Wheels, built and installed into fresh environments."""

import atexit
import functools
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@functools.cache
def installed(crate):
    """A virtual environment with the wheel of a crate. What the tests themselves run with (frameworks, servers) is there too, after it."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    # A build tree of its own: the extension is linked otherwise than the program, and each would undo the other's work.
    build = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "wheel")}
    command = [sys.executable, "-m", "maturin", "build", "--quiet", "--profile", "dev", "--out", folder.name, "--interpreter", sys.executable]
    subprocess.run(command, cwd=crate, env=build, check=True)
    wheel = next(pathlib.Path(folder.name).glob("*.whl"))
    home = pathlib.Path(folder.name, "venv")
    venv.create(home, with_pip=True)
    subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index", wheel], check=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(home)})
    pathlib.Path(packages, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


class Wheel(unittest.TestCase):
    """A folder, and a virtual environment with a wheel in it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    @classmethod
    def install(cls, crate):
        cls.home = installed(crate)
        cls.bin = cls.home / "bin"

    def run_once(self, *command, folder=None):
        return subprocess.run(command, cwd=folder or self.folder, capture_output=True, text=True)

    def start(self, *command, folder=None, pass_fds=()):
        """Starts a server, whose standard error is to be read."""
        # The environment names no VIRTUAL_ENV: an installed command knows where it is installed.
        environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PORT": "0"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=folder or self.folder, env=environ, pass_fds=pass_fds, text=True, **pipes)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def serve(self, *command, folder=None):
        process = self.start(*command, folder=folder)
        address = None
        for line in process.stderr:
            if found := re.match(r"listening on (http://\S+)", line):
                address = found[1]
            if line.startswith("ready"):
                return process, address
        self.fail("the program ended before it was ready")
