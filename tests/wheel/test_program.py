"""The `ziggurat` command of an installed wheel: run it, ask it, end it."""

import json
import pathlib
import shutil
import signal
import subprocess
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
        subprocess.run([ROOT / "target" / "debug" / "ziggurat", "new", "api-key"], cwd=cls.folder, check=True, capture_output=True)
        cls.crate = cls.folder / "api-key"
        # The versions that are compiled already.
        shutil.copy(ROOT / "Cargo.lock", cls.crate)
        cls.install(cls.crate)

    def test_its_command_knows_the_layer(self):
        self.assertIn("Adds the header `x-api-key`", self.run_once(self.bin / "ziggurat", "layers").stdout)
        self.assertIn("api_key", self.run_once(self.bin / "python", "-m", "api_key", "schema").stdout)
        checked = self.run_once(self.bin / "ziggurat", "check", folder=self.crate)
        self.assertEqual((checked.returncode, checked.stdout), (0, "pipeline.json: ok\n"), checked.stderr)

    def test_its_command_serves_with_workers_that_its_own_package_starts(self):
        # Bare, in a folder with a pipeline file, it serves that.
        process, address = self.serve(self.bin / "ziggurat", folder=self.crate)
        with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
            self.assertEqual(answer.read(), b"Hello from the app\n")
            self.assertEqual(answer.headers["x-api-key"], "hello")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)

    def test_its_workers_know_the_layer_below_a_python_layer(self):
        (self.folder / "filter.py").write_text(FILTER)
        (self.folder / "site_app.py").write_text(APP)
        layers = [{"wsgi": "filter:Filter"}, {"api_key": "inside"}]
        (self.folder / "pipeline.json").write_text(json.dumps({"listen": "127.0.0.1:0", "layers": layers, "app": {"wsgi": "site_app:app"}}))
        process, address = self.serve(self.bin / "python", "-m", "api_key", "run")
        with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
            self.assertEqual(answer.headers["x-api-key"], "inside")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0)
