"""A small threaded WSGI server that keeps the rules, but for those that its arguments name: each is a fault that servers have had.

It prints its port. HTTP is reduced to what the cases of these faults need; one connection serves one request.
"""

import io
import socketserver
import sys
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

import app

FAULTS = set(sys.argv[1:])


def has(fault):
    return fault in FAULTS


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            octet = self.rfile.read(1)
            if not octet or len(head) > 65536:
                return
            head += octet
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        try:
            method, target, version = line.split(" ")
            fields = [self.field(field) for field in fields]
        except ValueError:
            return self.refuse()
        lengths = [value for name, value in fields if name == "content-length"]
        codings = [value for name, value in fields if name == "transfer-encoding"]
        if has("last-length"):
            lengths, codings = lengths[-1:], []
        if not has("python-length") and not all(length.isdigit() for length in lengths):
            return self.refuse()
        if len(lengths) > 1 or codings or version not in ("HTTP/1.1", "HTTP/1.0"):
            return self.refuse()
        try:
            length = int(lengths[0]) if lengths else 0
        except ValueError:
            return self.refuse()
        body = self.rfile.read(length)
        if has("waits"):
            body = io.BufferedReader(self.rfile)
        self.serve(method, target, version, fields, body)

    def field(self, field):
        name, value = field.split(":", 1)
        if not has("lenient-names") and (name != name.strip() or not name.replace("-", "").replace("_", "").isalnum()):
            raise ValueError(name)
        if not has("lenient-values") and any(c in value for c in "\0\r\n"):
            raise ValueError(value)
        return name.strip().lower(), value.strip(" \t")

    def refuse(self):
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def environ(self, method, target, version, fields, body):
        path, _, query = target.partition("?")
        path = unquote_to_bytes(path)
        if has("decodes-twice"):
            path = unquote_to_bytes(path)
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path.decode("utf-8", "replace") if has("utf-8") else path.decode("latin-1"),
            "QUERY_STRING": unquote_to_bytes(query).decode("latin-1") if has("decodes-query") else query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": 80 if has("port-number") else "80",
            "SERVER_PROTOCOL": version,
            "REMOTE_ADDR": "" if has("no-address") else "127.0.0.1",
            "wsgi.version": [1, 0] if has("version-list") else (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body if has("waits") else io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.multithread": not has("claims-one-thread"),
            "wsgi.multiprocess": False,
            "wsgi.run_once": has("claims-once"),
        }
        for name, value in fields:
            if "_" in name and not has("underscores") or name == "proxy" and not has("proxy"):
                continue
            key = name.upper().replace("-", "_")
            if name in ("content-type", "content-length"):
                environ[key] = value
                if not has("http-content"):
                    continue
            key = "HTTP_" + key
            joined = key in environ and not has("last-header")
            environ[key] = environ[key] + ("; " if name == "cookie" else ", ") + value if joined else value
        return Dict(environ) if has("dict-class") else environ

    def serve(self, method, target, version, fields, body):
        response = Response(self.wfile, method)
        chunks = None
        try:
            chunks = app.application(self.environ(method, target, version, fields, body), response.start)
            for chunk in chunks:
                response.send(chunk)
            response.end()
        except ConnectionError:
            pass
        except BaseException:
            response.fail()
        finally:
            if hasattr(chunks, "close") and not has("no-close") and not (has("no-close-on-error") and response.failed):
                chunks.close()
                if has("closes-twice"):
                    chunks.close()


class Dict(dict):
    pass


class Response:
    def __init__(self, out, method):
        self.out, self.method = out, method
        self.head, self.sent, self.failed = None, False, False
        self.left, self.held = None, []

    def start(self, status, headers, exc_info=None):
        if exc_info:
            if self.sent and not has("replaces-late"):
                raise exc_info[1]
        elif self.head and not has("starts-twice"):
            raise AssertionError("start_response was called twice")
        if not has("lenient-head"):
            if type(status) is not str or not status[:3].isdigit() or status[3:4] not in ("", " ") or type(headers) is not list:
                raise ValueError("wrong status or headers")
            for text in [status] + [text for header in headers for text in header]:
                text.encode("latin-1")
                if any(c in text for c in "\r\n\0"):
                    raise ValueError("a control character")
            if any(name.lower() in ("connection", "keep-alive", "upgrade", "transfer-encoding") for name, _ in headers):
                raise ValueError("a header of the connection")
        self.head = status, list(headers)
        return self.write

    def write(self, chunk):
        self.send(chunk)

    def send(self, chunk):
        if type(chunk) is not bytes and not has("encodes"):
            raise TypeError("a chunk is bytes")
        chunk = chunk if isinstance(chunk, bytes) else chunk.encode()
        if self.head is None and not has("starts-itself"):
            raise AssertionError("start_response was not called")
        if has("buffers"):
            self.held.append(chunk)
        elif chunk or has("ends-at-empty"):
            self.pass_on(chunk)

    def begin(self):
        status, headers = self.head or ("200 OK", [])
        self.sent = True
        names = [name.lower() for name, _ in headers]
        lines = ["%s %s" % ("HTTP/1.1", status)] + ["%s: %s" % header for header in headers]
        if has("two-dates") or "date" not in names:
            lines.append("Date: Thu, 01 Jan 1970 00:00:00 GMT")
        self.bodiless = (self.method == "HEAD" or status[:3] in ("204", "304")) and not has("body-anyway")
        self.chunked = "content-length" not in names and not self.bodiless
        lengths = [int(value) for name, value in headers if name.lower() == "content-length" and value.isdigit()]
        self.left = lengths[0] if lengths and not has("no-limit") else None
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        self.out.write(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode("latin-1"))

    def pass_on(self, chunk):
        if not self.sent:
            self.begin()
        if self.bodiless:
            return
        if self.left is not None:
            chunk = chunk[: self.left]
            self.left -= len(chunk)
        if self.chunked:
            chunk = b"%x\r\n%s\r\n" % (len(chunk), chunk)
        self.out.write(chunk)

    def end(self):
        if self.head is None and not has("starts-itself"):
            raise AssertionError("start_response was not called")
        if has("buffers"):
            self.pass_on(b"".join(self.held))
        if not self.sent:
            self.begin()
        if self.left and has("fills-up"):
            self.out.write(b" " * self.left)
        if self.chunked:
            self.out.write(b"0\r\n\r\n")

    def fail(self):
        self.failed = True
        if has("ends-as-if-whole") and self.head:
            self.end()
        elif not self.sent:
            self.out.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
