"""What the wheel gives to Python programs: `ziggurat.stack`, `ziggurat.load`, their types, and Django's entry."""

import pathlib
import textwrap

from support import ROOT, Wheel

HERE = pathlib.Path(__file__).resolve().parent


class Stack(Wheel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.install(ROOT)

    def python(self, *arguments):
        ended = self.run_once(self.bin / "python", *arguments)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended

    def test_its_promises_hold_inside_the_program_that_calls_it(self):
        self.python("-W", "error::ResourceWarning", HERE / "inside.py")

    def test_it_is_typed_and_the_types_are_those_of_the_module(self):
        check = ["-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", self.folder / ".mypy", "-p", "ziggurat", "-m", "typed"]
        (self.folder / "typed.py").write_bytes((HERE / "typed.py").read_bytes())
        self.python(*check)
        self.python("-m", "mypy.stubtest", "ziggurat._native")

    def test_the_end_of_the_interpreter_writes_out_what_layers_hold(self):
        code = """
            import sys, threading, ziggurat
            from wsgiref.util import setup_testing_defaults
            def app(environ, start_response):
                start_response("200 OK", [])
                return [b"hello"]
            stack = ziggurat.stack(app, [{"access_log": {"to": "end.log"}}])
            environ = {}
            setup_testing_defaults(environ)
            def ask():
                list(stack(dict(environ), lambda *_: None))
            thread = threading.Thread(target=lambda: [ask() for _ in range(100)])
            thread.start()
            thread.join()
            sys.exit(0)
        """
        ended = self.python("-X", "dev", "-c", textwrap.dedent(code))
        self.assertEqual(ended.stderr, "")
        self.assertEqual(len((self.folder / "end.log").read_text().splitlines()), 100)

    def test_an_interrupt_reaches_a_server_whose_request_waits(self):
        code = """
            import os, signal, sys, threading, time, ziggurat
            from wsgiref.util import setup_testing_defaults
            def app(environ, start_response):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                time.sleep(30)
            def alarm(*_):
                raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, alarm)
            environ = {}
            setup_testing_defaults(environ)
            try:
                ziggurat.stack(app, ["request_id", {"timeout": "30s"}])(environ, lambda *_: None)
            except KeyboardInterrupt:
                print("interrupted")
        """
        self.assertEqual(self.python("-c", textwrap.dedent(code)).stdout, "interrupted\n")

    def test_it_is_djangos_wsgi_application(self):
        (self.folder / "mysite.py").write_text(
            textwrap.dedent(
                """
                import os
                import ziggurat
                from django.core.wsgi import get_wsgi_application
                from django.http import HttpResponse
                from django.urls import path
                SECRET_KEY, ROOT_URLCONF, WSGI_APPLICATION, DEBUG, ALLOWED_HOSTS = "x", "mysite", "mysite.application", True, ["*"]
                urlpatterns = [path("", lambda request: HttpResponse(f"from {request.path}"))]
                os.environ["DJANGO_SETTINGS_MODULE"] = "mysite"
                def __getattr__(name):
                    if name == "application":
                        globals()[name] = ziggurat.stack(get_wsgi_application(), ["request_id"])
                        return globals()[name]
                    raise AttributeError(name)
                """
            )
        )
        code = """
            import django, mysite, wsgiref.util
            django.setup()
            from django.core.servers.basehttp import get_internal_wsgi_application
            application, environ, heads = get_internal_wsgi_application(), {}, []
            wsgiref.util.setup_testing_defaults(environ)
            print(type(application).__name__, b"".join(application(environ, lambda *head: heads.append(head))), dict(heads[0][1])["X-Request-Id"] != "")
        """
        self.assertEqual(self.python("-c", textwrap.dedent(code)).stdout, "Stack b'from /' True\n")
