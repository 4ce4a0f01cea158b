"""The same pipeline file by `ziggurat run` and, by `ziggurat.load`, under other WSGI servers: the same answers."""

import concurrent.futures
import hashlib
import http.client
import json
import pathlib
import re
import signal
import socket
import sys
import unittest

from support import ROOT, Wheel

PIPELINE = {
    "listen": "127.0.0.1:0",
    "layers": [
        "request_id",
        {"access_log": {"to": "access.log"}},
        {"forwarded": {"trust": "127.0.0.1"}},
        "security_headers",
        {"compress": {"above": "100B"}},
        {"static": {"at": "/static", "root": "static"}},
        {"body_limit": "1MiB"},
    ],
    "app": {
        "routes": [
            {"match": {"path": "/healthz"}, "app": {"respond": 204}},
            {"mount": "/old", "app": {"redirect": "/new{path}"}},
            {"mount": "/sub", "layers": [{"wsgi": "site_app:Marked"}, {"headers": {"response": {"set": {"x-inside": "1"}}}}], "app": "site"},
            {"match": {"path": "/small/*"}, "layers": [{"body_limit": "1KiB"}], "app": "site"},
            {"layers": [{"wsgi": "wsgiref.validate:validator"}], "match": {"path": "/valid/*"}, "app": "site"},
            {"app": "site"},
        ]
    },
    "apps": {"site": {"wsgi": {"app": "site_app:make()", "workers": 2, "threads": 2, "env": {"SITE_COLOUR": "blue"}}}},
}
APP = '''
import hashlib, json, os, time
with open("made.log", "a") as log:
    print("imported", os.getpid(), file=log)
KEYS = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "REMOTE_ADDR", "SERVER_PROTOCOL", "wsgi.url_scheme"]

class Marked:
    def __init__(self, app):
        self.app = app
    def __call__(self, environ, start_response):
        environ["marked"] = "yes"
        return self.app(environ, start_response)

class Stream:
    def __init__(self):
        self.chunks = iter([b"one\\n", b"two\\n", b"three\\n"])
    def __iter__(self):
        return self.chunks
    def close(self):
        with open("closed.log", "a") as log:
            log.write("x")

def make():
    with open("made.log", "a") as log:
        print("made", os.getpid(), file=log)
    return app

def app(environ, start_response):
    path = environ["PATH_INFO"]
    plain = [("Content-Type", "text/plain; charset=utf-8")]
    if path == "/boom":
        raise ValueError("boom")
    if path == "/pid":
        time.sleep(0.02)
        body = str(os.getpid()).encode()
    elif path == "/file":
        start_response("200 OK", plain)
        return environ["wsgi.file_wrapper"](open("big.bin", "rb"))
    elif path == "/stream":
        start_response("200 OK", plain)
        return Stream()
    elif path == "/late":
        start_response("200 OK", plain)
        return late()
    elif path.endswith("/echo"):
        digest, size = hashlib.sha256(), 0
        while chunk := environ["wsgi.input"].read(10_000):
            digest.update(chunk)
            size += len(chunk)
        body = f"{size} {digest.hexdigest()}".encode()
    else:
        seen = {key: environ.get(key, "") for key in KEYS}
        seen |= {key: value for key, value in environ.items() if key.startswith("HTTP_") and key not in ("HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_REQUEST_ID")}
        body = json.dumps([seen, environ.get("marked"), os.environ["SITE_COLOUR"]], sort_keys=True).encode()
    start_response("200 OK", plain + [("Content-Length", str(len(body)))])
    return [body]

def late():
    yield b"begun\\n"
    raise RuntimeError("late")
'''
#: The validator wants a Content-Type of every answer, empty or not, which PEP 3333 does not.
VALIDATED = '''
from wsgiref.validate import validator
from served import application as site

def application(environ, start_response):
    return (site if environ["PATH_INFO"].startswith("/old") else validator(site))(environ, start_response)
'''
REQUESTS = [
    ("GET", "/", {}, None),
    ("GET", "/a%20b%2Fc?x=%C3%A9&y", {"Cookie": "a=b", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}, None),
    ("HEAD", "/", {}, None),
    ("GET", "/", {"Accept-Encoding": "gzip"}, None),
    ("GET", "/healthz", {}, None),
    ("GET", "/old/x?y", {}, None),
    ("GET", "/sub/x", {}, None),
    ("GET", "/valid/x", {}, None),
    ("GET", "/static/page.html", {}, None),
    ("GET", "/static/page.html", {"Range": "bytes=2-5"}, None),
    ("GET", "/static/none", {}, None),
    ("POST", "/static/page.html", {}, b""),
    ("POST", "/echo", {}, b"x" * 300_000),
    ("POST", "/valid/echo", {}, b"x" * 100_000),
    ("POST", "/small/echo", {}, b"x" * 20_000),
    ("GET", "/file", {}, None),
    ("GET", "/stream", {}, None),
    ("GET", "/boom", {}, None),
]
#: Where the tests' own packages are: it takes a compiler and a minute, and is not asked for.
UWSGI = pathlib.Path(sys.executable).parent / "uwsgi"
WAITRESS = ["--listen", "127.0.0.1:0", "--no-clear-untrusted-proxy-headers"]
#: What servers say of themselves, what differs from request to request, and how a length that nobody knew is told.
OWN = {"date", "server", "connection", "keep-alive", "transfer-encoding", "via", "x-request-id"}


def answer(address, method, target, headers, body):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        # wsgiref gives requests without a type one of its own.
        connection.request(method, target, body, {"Content-Type": "text/plain", **headers})
        response = connection.getresponse()
        own = OWN | {"content-length"} if response.status == 204 else OWN
        kept = sorted((name.lower(), value) for name, value in response.getheaders() if name.lower() not in own)
        content = response.read()
        return response.status, kept, content if len(content) < 2000 else hashlib.sha256(content).hexdigest()
    finally:
        connection.close()


class Servers(Wheel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.install(ROOT)
        cls.put(cls.folder)
        (cls.folder / "validated.py").write_text(VALIDATED)

    @classmethod
    def put(cls, folder):
        (folder / "site_app.py").write_text(APP)
        (folder / "pipeline.json").write_text(json.dumps(PIPELINE, indent=2))
        (folder / "served.py").write_text("import ziggurat\napplication = ziggurat.load('pipeline.json')\n")
        (folder / "static").mkdir()
        (folder / "static" / "page.html").write_text("<p>" + "text " * 100)
        (folder / "big.bin").write_bytes(bytes(range(256)) * 2000)

    def answers(self, address):
        return [answer(address, *request) for request in REQUESTS]

    def reference(self):
        """The answers of `ziggurat run`."""
        if not hasattr(Servers, "expected"):
            _, address = self.serve(self.bin / "ziggurat", "run")
            Servers.expected = self.answers(address)
        return Servers.expected

    def gunicorn(self, *arguments, site="served", folder=None):
        command = [self.bin / "python", "-m", "gunicorn", "--bind", "127.0.0.1:0", "--timeout", "20", "--no-control-socket", *arguments, f"{site}:application"]
        process = self.start(*command, folder=folder)
        for line in process.stderr:
            if found := re.search(r"Listening at: (http://[\d.:]+)", line):
                return process, found[1]
        self.fail("gunicorn ended")

    def same(self, address):
        for request, expected, found in zip(REQUESTS, self.reference(), self.answers(address), strict=True):
            with self.subTest(request=request[:3]):
                self.assertEqual(found, expected)

    def test_gunicorn_gives_the_same_answers(self):
        self.same(self.gunicorn()[1])

    def test_gunicorn_with_threads_gives_the_same_answers(self):
        self.same(self.gunicorn("--worker-class", "gthread", "--threads", "4")[1])

    def test_gunicorn_that_forks_after_the_import_gives_the_same_answers(self):
        self.same(self.gunicorn("--preload", "--workers", "2", "--threads", "2")[1])

    def test_waitress_gives_the_same_answers_and_a_validator_above_finds_nothing(self):
        process = self.start(self.bin / "python", "-u", "-m", "waitress", *WAITRESS, "validated:application")
        for line in process.stderr:
            if found := re.search(r"Serving on (http://[\d.:]+)", line):
                return self.same(found[1])
        self.fail("waitress ended")

    def test_wsgiref_gives_the_same_answers(self):
        # It answers as HTTP/1.0 does, and knows of no body without a length.
        code = (
            "import sys; from wsgiref.simple_server import make_server; from validated import application;"
            "server = make_server('127.0.0.1', 0, application); print(server.server_port, file=sys.stderr, flush=True); server.serve_forever()"
        )
        process = self.start(self.bin / "python", "-c", code)
        self.same("http://127.0.0.1:" + next(line.strip() for line in process.stderr if line.strip().isdigit()))

    @unittest.skipUnless(UWSGI.exists(), "uWSGI is not installed")
    def test_uwsgi_that_forks_after_the_import_gives_the_same_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as door:
            where = f"127.0.0.1:{door.getsockname()[1]}"
            options = ["--http-socket", "fd://%d" % door.fileno()]
            command = [UWSGI, *options, "--master", "--processes", "2", "--threads", "2", "--die-on-term", "--virtualenv", self.home, "--module", "served"]
            self.start(*command, pass_fds=[door.fileno()])
            self.same(f"http://{where}")

    def test_a_body_in_chunks_arrives(self):
        _, address = self.gunicorn()
        body = iter([b"x" * 100_000, b"y" * 100_000])
        status, _, content = answer(address, "POST", "/echo", {}, body)
        self.assertEqual((status, content.split()[0]), (200, b"200000"))

    def test_a_body_that_is_malformed_is_a_400(self):
        _, address = self.gunicorn()
        self.assertEqual(answer(address, "POST", "/echo", {"Transfer-Encoding": "chunked"}, b"no chunks\r\n\r\n")[0], 400)

    def test_an_answer_arrives_as_it_is_made_and_one_that_breaks_off_is_seen_to(self):
        _, address = self.gunicorn("--threads", "2")
        with self.assertRaises(http.client.IncompleteRead):
            answer(address, "GET", "/late", {}, None)

    def test_each_process_of_a_server_that_forked_has_its_own_stack_and_logs_all_requests(self):
        folder = self.folder / "forks"
        folder.mkdir()
        self.put(folder)
        process, address = self.gunicorn("--preload", "--workers", "3", "--threads", "4", folder=folder)
        with concurrent.futures.ThreadPoolExecutor(12) as clients:
            found = list(clients.map(lambda _: answer(address, "GET", "/pid", {}, None), range(120)))
        self.assertEqual({status for status, _, _ in found}, {200})
        self.assertGreater(len({body for _, _, body in found}), 1, "one process served all")
        # The app was imported, and its factory called, in the parent alone.
        self.assertEqual((folder / "made.log").read_text().split(), ["imported", str(process.pid), "made", str(process.pid)])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=30), 0, process.stderr.read())
        self.assertEqual(len((folder / "access.log").read_text().splitlines()), 120)

    def test_a_worker_that_takes_too_long_hears_its_servers_signal(self):
        (self.folder / "stuck.py").write_text(
            "import time, ziggurat\n"
            "def app(environ, start_response):\n"
            "    while environ['PATH_INFO'] == '/stuck':\n        time.sleep(0.1)\n"
            "    start_response('200 OK', [])\n    return [b'well']\n"
            "application = ziggurat.stack(app, ['request_id', {'timeout': '30s'}])\n"
        )
        _, address = self.gunicorn("--timeout", "1", site="stuck")
        try:
            self.assertEqual(answer(address, "GET", "/stuck", {}, None)[0], 500)
        except (ConnectionError, http.client.HTTPException):
            pass
        self.assertEqual(answer(address, "GET", "/", {}, None)[0], 200)

    def test_a_broken_file_ends_the_server_with_the_place_in_it(self):
        (self.folder / "broken.json").write_text('{\n  "layers": [{ "compress": { "levle": 6 } }],\n  "app": { "respond": 200 }\n}\n')
        (self.folder / "broken.py").write_text("import ziggurat\napplication = ziggurat.load('broken.json')\n")
        ended = self.run_once(self.bin / "python", "-m", "gunicorn", "--bind", "127.0.0.1:0", "broken:application")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("broken.json:2:30", ended.stderr)
