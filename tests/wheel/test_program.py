"""The `ziggurat` command of an installed wheel: run it, ask it, end it."""

import json
import pathlib
import shutil
import signal
import subprocess
import unittest.mock
import urllib.request

from support import ROOT, Wheel

FILTER = """
class Filter:
    def __init__(self, app):
        self.app = app
    def __call__(self, environ, start_response):
        return self.app(environ, start_response)
"""
APP = """
import atexit, sys
atexit.register(lambda: print("atexit ran"))
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['PATH_INFO']} {sys.prefix}".encode()]
"""


LAUNCH = """
import os, signal, sys
sys.path[0:0] = [{eggs!r}]
# As agents do: they hook themselves in, keep their children from doing so, and end the process in their own way.
os.environ.pop("PYTHONPATH", None)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
import ziggurat
sys.exit(ziggurat.main())
"""
AGENT = """
import builtins, os
builtins.HOOKED = True
os.environ.pop("PYTHONPATH", None)
"""
COVER = """
import atexit, os
atexit.register(lambda: open(f"covered-{os.getpid()}", "w").close())
"""
DEFAULT = """
import json, os, signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_DFL)
CHILD = subprocess.Popen(["sleep", "60"])
def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps(os.getpid()).encode()]
"""
INSIDE = """
import builtins, json, os, sys, egg
seen = [sys.flags.optimize, sys.flags.dev_mode, "error::UserWarning" in sys.warnoptions, sys._xoptions.get("own"), len(sys.argv),
        getattr(builtins, "HOOKED", False), os.environ.get("PYTHONPATH")]
def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps(seen).encode()]
"""


class TheWheel(Wheel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.install(ROOT)
        (cls.folder / "site_app.py").write_text(APP)
        (cls.folder / "pipeline.json").write_text(json.dumps({"listen": "127.0.0.1:0", "layers": ["request_id"], "app": {"wsgi": "site_app:app"}}))

    def check(self, *command):
        process, address = self.serve(*command)
        with urllib.request.urlopen(f"{address}/path", timeout=30) as answer:
            self.assertEqual(answer.read().decode(), f"/path {self.home}")
            self.assertTrue(answer.headers["X-Request-Id"])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)
        self.assertIn("atexit ran", process.stdout.read())

    def test_its_command_serves_an_app_of_its_own_environment(self):
        self.check(self.bin / "ziggurat", "run")

    def test_python_dash_m_is_the_same_program(self):
        self.check(self.bin / "python", "-m", "ziggurat", "run")

    def test_workers_have_the_path_the_flags_and_the_agent_of_the_server(self):
        for name, text in {"eggs/egg.py": "", "agent/sitecustomize.py": AGENT, "inside.py": INSIDE, "launch.py": LAUNCH.format(eggs=str(self.folder / "eggs"))}.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        for workers in (1, 0):
            (self.folder / "inside.json").write_text(json.dumps({"listen": "127.0.0.1:0", "app": {"wsgi": {"app": "inside:app", "workers": workers}}}))
            with unittest.mock.patch.dict("os.environ", PYTHONPATH=str(self.folder / "agent")):
                flags = ["-O", "-W", "error::UserWarning", "-X", "dev", "-X", "own=1"]
                process, address = self.serve(self.bin / "python", *flags, "launch.py", "run", "inside.json")
            with urllib.request.urlopen(address, timeout=30) as answer:
                self.assertEqual(json.load(answer), [1, True, True, "1", 1, True, None])
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=30), 0)

    def test_exit_hooks_of_agents_run_in_workers_after_those_of_the_app(self):
        for name, text in {"cover/sitecustomize.py": COVER, "default.py": DEFAULT}.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        for threads in (1, 4):
            options = {"app": "default:app", "workers": 1, "threads": threads}
            (self.folder / "cover.json").write_text(json.dumps({"listen": "127.0.0.1:0", "app": {"wsgi": options}}))
            with unittest.mock.patch.dict("os.environ", PYTHONPATH=str(self.folder / "cover")):
                process, address = self.serve(self.bin / "ziggurat", "run", "cover.json")
            with urllib.request.urlopen(address, timeout=30) as answer:
                worker = json.load(answer)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=30), 0)
            for pid in (process.pid, worker):
                self.assertTrue((self.folder / f"covered-{pid}").exists(), f"{threads} threads")

    def test_an_interrupt_ends_it_with_0(self):
        process, _ = self.serve(self.bin / "ziggurat", "run")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=30), 0)

    def test_it_has_the_django_app(self):
        code = "import importlib.util; print(importlib.util.find_spec('ziggurat.django.management.commands').submodule_search_locations[0])"
        found = subprocess.run([self.bin / "python", "-c", code], cwd=self.folder, capture_output=True, text=True, check=True)
        self.assertTrue((pathlib.Path(found.stdout.strip()) / "ziggurat.py").is_file())

    def test_a_wrong_file_exits_with_2(self):
        (self.folder / "wrong.json").write_text('{ "ap": 1 }')
        result = self.run_once(self.bin / "ziggurat", "check", "wrong.json")
        self.assertEqual(result.returncode, 2)
        self.assertIn("wrong.json:1:3", result.stderr)


class TheWheelOfACrateOfOnesOwn(Wheel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run([ROOT / "target" / "debug" / "ziggurat", "new", "build-stamp"], cwd=cls.folder, check=True, capture_output=True)
        cls.crate = cls.folder / "build-stamp"
        # The versions that are compiled already.
        shutil.copy(ROOT / "Cargo.lock", cls.crate)
        cls.install(cls.crate)

    def test_its_command_knows_the_layer(self):
        self.assertIn("Adds the header `x-build-stamp`", self.run_once(self.bin / "ziggurat", "layers").stdout)
        self.assertIn("build_stamp", self.run_once(self.bin / "python", "-m", "build_stamp", "schema").stdout)
        checked = self.run_once(self.bin / "ziggurat", "check", folder=self.crate)
        self.assertEqual((checked.returncode, checked.stdout), (0, "pipeline.json: ok\n"), checked.stderr)

    def test_its_command_serves_with_workers_that_its_own_package_starts(self):
        # Bare, in a folder with a pipeline file, it serves that.
        process, address = self.serve(self.bin / "ziggurat", folder=self.crate)
        with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
            self.assertEqual(answer.read(), b"Hello from the app\n")
            self.assertEqual(answer.headers["x-build-stamp"], "hello")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)

    def test_its_workers_know_the_layer_below_a_python_layer(self):
        (self.folder / "filter.py").write_text(FILTER)
        (self.folder / "site_app.py").write_text(APP)
        layers = [{"wsgi": "filter:Filter"}, {"build_stamp": "inside"}]
        (self.folder / "pipeline.json").write_text(json.dumps({"listen": "127.0.0.1:0", "layers": layers, "app": {"wsgi": "site_app:app"}}))
        process, address = self.serve(self.bin / "python", "-m", "build_stamp", "run")
        with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
            self.assertEqual(answer.headers["x-build-stamp"], "inside")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)
