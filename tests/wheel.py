"""The wheel from outside: build it, install it into a fresh environment, run its `ziggurat` command, ask it, end it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
APP = """
import atexit, sys
atexit.register(lambda: print("atexit ran"))
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['PATH_INFO']} {sys.prefix}".encode()]
"""


class TheWheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        # A build tree of its own: the extension is linked otherwise than the program, and each would undo the other's work.
        build = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "wheel")}
        command = [sys.executable, "-m", "maturin", "build", "--quiet", "--profile", "dev", "--out", cls.folder, "--interpreter", sys.executable]
        subprocess.run(command, cwd=ROOT, env=build, check=True)
        venv.create(cls.folder / "venv", with_pip=True)
        cls.bin = cls.folder / "venv" / "bin"
        wheel = next(cls.folder.glob("*.whl"))
        subprocess.run([cls.bin / "python", "-m", "pip", "install", "--quiet", "--no-index", wheel], check=True)
        (cls.folder / "site_app.py").write_text(APP)
        (cls.folder / "pipeline.json").write_text(json.dumps({"listen": "127.0.0.1:0", "layers": ["request_id"], "app": {"wsgi": "site_app:app"}}))

    def serve(self, *command):
        # The environment names no VIRTUAL_ENV: an installed command knows where it is installed.
        environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        process = subprocess.Popen(command, cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        address = None
        for line in process.stderr:
            if found := re.match(r"listening on (http://\S+)", line):
                address = found[1]
            if line.startswith("ready"):
                return process, address
        self.fail("the program ended before it was ready")

    def check(self, *command):
        process, address = self.serve(*command)
        with urllib.request.urlopen(f"{address}/path", timeout=30) as answer:
            self.assertEqual(answer.read().decode(), f"/path {self.folder / 'venv'}")
            self.assertTrue(answer.headers["X-Request-Id"])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)
        self.assertIn("atexit ran", process.stdout.read())

    def test_its_command_serves_an_app_of_its_own_environment(self):
        self.check(self.bin / "ziggurat", "run")

    def test_python_dash_m_is_the_same_program(self):
        self.check(self.bin / "python", "-m", "ziggurat", "run")

    def test_an_interrupt_ends_it_with_0(self):
        process, _ = self.serve(self.bin / "ziggurat", "run")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=30), 0)

    def test_a_wrong_file_exits_with_2(self):
        (self.folder / "wrong.json").write_text('{ "ap": 1 }')
        result = subprocess.run([self.bin / "ziggurat", "check", "wrong.json"], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("wrong.json:1:3", result.stderr)


if __name__ == "__main__":
    unittest.main()
