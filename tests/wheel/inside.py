"""`ziggurat.stack` and `ziggurat.load`, seen from the program that calls them. Run by the Python that has the wheel, in a fresh folder."""

import concurrent.futures
import gc
import gzip
import io
import json
import os
import pathlib
import sys
import threading
import unittest
import warnings
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import ziggurat

PLAIN = [("Content-Type", "text/plain")]


def ask(app, path="/", body=None, **environ):
    """Status, headers and body, asked for as a server does."""
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", **environ}
    if body is not None:
        environ |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    started = []
    answer = app(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
    try:
        content = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    ((status, headers),) = started
    return status, {name.lower(): value for name, value in headers}, content


def hello(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"hello " * 50]


class Stacks(unittest.TestCase):
    def test_layers_stand_around_an_app(self):
        app = ziggurat.stack(hello, ["request_id", {"compress": {"above": "100B"}}])
        status, headers, content = ask(validator(app), HTTP_ACCEPT_ENCODING="gzip")
        self.assertEqual(status, "200 OK")
        self.assertTrue(headers["x-request-id"])
        self.assertEqual(gzip.decompress(content), b"hello " * 50)
        self.assertEqual(repr(app), "<ziggurat.Stack request_id > compress>")

    def test_no_layers_are_an_app_all_the_same(self):
        self.assertEqual(ask(ziggurat.stack(hello, []))[0], "200 OK")

    def test_python_layers_stand_among_native_ones(self):
        layers = [{"wsgi": "wsgiref.validate:validator"}, "request_id", {"wsgi": "wsgiref.validate:validator"}]
        self.assertEqual(ask(ziggurat.stack(hello, layers))[0], "200 OK")

    def test_to_the_app_it_is_the_server_and_to_the_server_the_app(self):
        def app(environ, start_response):
            seen.update(environ)
            environ["left"] = "by the app"
            raise KeyError("mine")

        seen, environ = {}, {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "REMOTE_USER": "ann", "my.own": object(), "PATH_INFO": "/a", "SCRIPT_NAME": "/b"}
        setup_testing_defaults(environ)
        stack = ziggurat.stack(app, ["request_id", "security_headers"])
        with self.assertRaisesRegex(KeyError, "mine"):
            stack(environ, lambda *_: None)
        self.assertEqual(environ["left"], "by the app")
        for key in ["HTTP_X_FORWARDED_FOR", "REMOTE_USER", "my.own", "PATH_INFO", "SCRIPT_NAME", "SERVER_NAME", "wsgi.errors", "wsgi.multithread"]:
            self.assertEqual(seen[key], environ[key], key)

    def test_what_ends_a_program_goes_through(self):
        for error in (SystemExit, KeyboardInterrupt):

            def app(environ, start_response):
                raise error

            with self.assertRaises(error):
                ask(ziggurat.stack(app, ["request_id"]))

    def test_chunks_come_one_by_one_and_close_is_called_once(self):
        class Chunks:
            made, closed = 0, 0

            def __iter__(self):
                for _ in range(3):
                    self.made += 1
                    yield b"chunk"

            def close(self):
                self.closed += 1

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            return chunks

        chunks, environ = Chunks(), {}
        setup_testing_defaults(environ)
        answer = ziggurat.stack(app, ["request_id", "security_headers"])(environ, lambda *_: None)
        begun = iter(answer)
        self.assertEqual((next(begun), chunks.made), (b"chunk", 1))
        self.assertEqual((next(begun), chunks.made), (b"chunk", 2))
        answer.close()
        self.assertEqual((chunks.made, chunks.closed), (2, 1))

    def test_an_upload_is_read_as_the_app_reads(self):
        class Input(io.BytesIO):
            given = 0

            def read(self, size=-1):
                octets = super().read(size)
                self.given += len(octets)
                return octets

        def app(environ, start_response):
            begin = environ["wsgi.input"].read(10)
            given.append(source.given)
            start_response("200 OK", PLAIN)
            return [begin, str(len(environ["wsgi.input"].read())).encode()]

        given, source = [], Input(b"x" * 1_000_000)
        stack = ziggurat.stack(app, ["request_id", {"body_limit": "2MB"}])
        environ = {"wsgi.input": source, "CONTENT_LENGTH": "1000000", "REQUEST_METHOD": "POST"}
        self.assertEqual(ask(stack, **environ)[2], b"x" * 10 + b"999990")
        self.assertLess(given[0], 200_000)

    def test_the_servers_input_is_never_asked_beyond_its_end(self):
        class Input:
            def read(self, size):
                raise AssertionError("a read could wait for ever")

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            return [environ["wsgi.input"].read()]

        for length in ({}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}):
            self.assertEqual(ask(ziggurat.stack(app, ["request_id"]), **{"wsgi.input": Input(), **length})[2], b"")

    def test_files_are_sent_without_the_app_and_only_as_far_as_they_go(self):
        pathlib.Path("file.txt").write_bytes(b"0123456789")

        def app(environ, start_response):
            start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
            file = open("file.txt", "rb")
            file.seek(4)
            return environ["wsgi.file_wrapper"](file)

        self.assertEqual(ask(ziggurat.stack(app, ["request_id"]))[2], b"456789")

    def test_threads_share_a_stack(self):
        stack = ziggurat.stack(hello, ["request_id", {"timeout": "30s"}, {"compress": {"above": "1B"}}])
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            statuses = list(threads.map(lambda _: ask(stack, HTTP_ACCEPT_ENCODING="gzip")[0], range(500)))
        self.assertEqual(set(statuses), {"200 OK"})

    def test_what_nobody_holds_any_more_ends(self):
        count = threading_count()
        stack = ziggurat.stack(hello, [{"access_log": {"to": "dropped.log"}}])
        ask(stack)
        self.assertGreater(threading_count(), count)
        del stack
        gc.collect()
        self.assertEqual(len(pathlib.Path("dropped.log").read_text().splitlines()), 1)

    def test_relative_paths_start_at_base(self):
        folder = pathlib.Path("elsewhere")
        folder.mkdir()
        (folder / "page.txt").write_text("page")
        for layer, base in (({"static": {"at": "/", "root": "."}}, folder), ({"static": {"at": "/", "root": folder}}, None)):
            stack = ziggurat.stack(hello, [layer], base=base)
            os.chdir("/")
            try:
                self.assertEqual(ask(stack, "/page.txt")[2], b"page")
            finally:
                os.chdir(HOME)

    def test_a_stack_in_a_stack(self):
        inner = ziggurat.stack(hello, [{"headers": {"response": {"set": {"x-layer": "inner"}}}}])
        outer = ziggurat.stack(inner, ["request_id"])
        self.assertEqual(ask(outer)[1]["x-layer"], "inner")


class Mistakes(unittest.TestCase):
    def refusal(self, make):
        with self.assertRaises(ziggurat.PipelineError) as caught:
            make()
        self.assertIsInstance(caught.exception, ValueError)
        return caught.exception

    def test_a_mistake_among_layers_is_shown_in_the_list(self):
        error = self.refusal(lambda: ziggurat.stack(hello, ["request_id", {"compress": {"levle": 6}}]))
        self.assertTrue(str(error).startswith("error: unknown option `levle` for layer `compress`\n --> <stack>:3:17\n"), str(error))
        (finding,) = error.findings
        self.assertEqual((finding["file"], finding["line"], finding["column"]), ("<stack>", 3, 17))

    def test_a_folder_that_is_not_there_is_a_mistake(self):
        self.assertIn("root", str(self.refusal(lambda: ziggurat.stack(hello, [{"static": {"root": "nowhere"}}]))))

    def test_middleware_that_cannot_be_imported_is_a_mistake(self):
        self.assertIn("nowhere", str(self.refusal(lambda: ziggurat.stack(hello, [{"wsgi": "nowhere:Middleware"}]))))

    def test_a_file_that_is_not_there_is_a_mistake(self):
        self.assertIn("cannot read `none.json`", str(self.refusal(lambda: ziggurat.load("none.json"))))

    def test_too_many_layers_are_a_mistake(self):
        self.assertIn("use fewer layers", str(self.refusal(lambda: ziggurat.stack(hello, ["request_id"] * 5000))))

    def test_what_is_no_list_of_layers_is_a_wrong_type(self):
        for layers in ("request_id", {"compress": {}}, None, [object()]):
            self.assertRaises(TypeError, ziggurat.stack, hello, layers)
        self.assertRaises(TypeError, ziggurat.stack, "hello", [])
        self.assertRaises(TypeError, ziggurat.load, 1)

    def test_an_environ_that_is_none_goes_on_as_it_is(self):
        start = lambda *_: None
        stack = ziggurat.stack(hello, ["request_id"])
        for environ in (None, [], {"REQUEST_METHOD": 1}, {"PATH_INFO": "\u20ac"}, {"HTTP_X": 3}, {"REQUEST_METHOD": "a b"}):
            self.assertRaises((TypeError, ValueError), stack, environ, start)


class Files(unittest.TestCase):
    def write(self, **file):
        pathlib.Path("site.json").write_text(json.dumps(file))
        return pathlib.Path("site.json")

    def test_variables_come_from_environ(self):
        file = self.write(app={"respond": {"body": "${WORD}"}})
        self.assertEqual(ask(ziggurat.load(file, environ={"WORD": "given"}))[2], b"given")
        os.environ["WORD"] = "set"
        self.assertEqual(ask(ziggurat.load(file))[2], b"set")
        self.assertRaises(ziggurat.PipelineError, ziggurat.load, file, environ={})
        self.assertRaises(TypeError, ziggurat.load, file, environ={"WORD": 3})

    def test_claims_of_proxies_are_removed_unless_judged(self):
        pathlib.Path("seen.py").write_text(
            "def app(environ, start_response):\n    start_response('200 OK', [])\n"
            "    return [repr([environ.get('HTTP_X_FORWARDED_FOR'), environ['REMOTE_ADDR']]).encode()]\n"
        )
        asked = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "REMOTE_ADDR": "127.0.0.1"}
        app = {"wsgi": "seen:app"}
        self.assertEqual(ask(ziggurat.load(self.write(app=app)), **asked)[2], b"[None, '127.0.0.1']")
        judged = self.write(layers=[{"forwarded": {"trust": "127.0.0.1"}}], app=app)
        self.assertEqual(ask(ziggurat.load(judged), **asked)[2], b"['203.0.113.9', '203.0.113.9']")

    def test_a_body_that_is_cut_short_never_reaches_the_app(self):
        pathlib.Path("short.py").write_text(
            "def app(environ, start_response):\n    body = environ['wsgi.input'].read()\n    start_response('200 OK', [])\n    return [body]\n"
        )
        site = ziggurat.load(self.write(app={"wsgi": "short:app"}))
        environ = {"wsgi.input": io.BytesIO(b"half"), "CONTENT_LENGTH": "8", "REQUEST_METHOD": "POST"}
        self.assertEqual(ask(site, **environ)[0], "400 Bad Request")


@unittest.skipUnless(hasattr(os, "fork"), "no forks")
class Forks(unittest.TestCase):
    def forked(self, work):
        """What `work` gives in a forked process."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writer, work().encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with open(reader) as said:
            text = said.read()
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        return text

    def test_a_stack_works_on_both_sides_of_a_fork_and_in_a_forks_fork(self):
        stack = ziggurat.stack(hello, ["request_id", {"access_log": {"to": "forks.log"}}, {"static": {"root": "."}}, {"timeout": "9s"}])
        self.assertEqual(ask(stack)[0], "200 OK")
        self.assertEqual(self.forked(lambda: ask(stack)[0]), "200 OK")
        self.assertEqual(self.forked(lambda: self.forked(lambda: ask(stack)[0])), "200 OK")
        self.assertEqual(ask(stack)[0], "200 OK")

    def test_a_fork_can_drop_what_its_parent_made(self):
        stacks = [ziggurat.stack(hello, [{"access_log": {"to": "parents.log"}}])]
        ask(stacks[0])
        self.assertEqual(self.forked(lambda: str(stacks.clear())), "None")
        self.assertEqual(ask(stacks[0])[0], "200 OK")

    def test_a_fork_in_the_middle_of_other_threads_requests_works(self):
        stack = ziggurat.stack(hello, ["request_id", {"compress": {"above": "1B"}}])
        over = threading.Event()

        def go_on():
            while not over.is_set():
                ask(stack)

        threads = [threading.Thread(target=go_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                self.assertEqual(self.forked(lambda: ask(stack)[0]), "200 OK")
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def test_a_stack_without_requests_leaves_no_threads_to_fork(self):
        stack = ziggurat.stack(hello, ["request_id"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(self.forked(lambda: ask(stack)[0]), "200 OK")
        self.assertEqual(ask(stack)[0], "200 OK")


def threading_count():
    """The threads of this process, whoever started them."""
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    HOME = os.getcwd()
    sys.path.insert(0, HOME)
    unittest.main()
