"""What is asked of the servers: requests, the answers that must come back, and the threads an application gets."""

import hashlib
import sys
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"
sys.path.insert(0, str(APPS))

import browser  # noqa: E402
import full  # noqa: E402
import hello  # noqa: E402
import stream  # noqa: E402

SITE_APP = "fieldnotes.wsgi:application"
USER, PASSWORD = "bench", "correct horse"
FILES = {"10k.bin": bytes(range(250)) * 40, "1m.bin": bytes(range(256)) * 4096}
UPLOAD = bytes(range(256)) * 4096

BROWSER_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://127.0.0.1/catalogue/shelves?page=2",
    "Connection": "keep-alive",
    "Cookie": "sessionid=k3vh2l0q8s1x4b7n6m5z9c0w2e4r6t8y; csrftoken=Zz0123456789abcdefghijklmnopqrst; theme=dark",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


def request(target="/", method="GET", headers=None, body=b""):
    """The octets of a request; `Host` is added (with it, a browser's request has 12 headers)."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Group:
    """Connections that send the same request again and again."""

    name: str
    connections: int
    request: bytes
    body: bytes | None
    """The answer's body, after any content coding is undone. None: that of the first server asked, which all others must give too."""
    holds: bytes = b""
    """What the body must hold, where it is not known beforehand."""


@dataclass
class Scenario:
    name: str
    says: str
    groups: list
    app: str = "hello:app"
    threads: int | None = None
    """Threads that the application needs to do well; None where it only computes and each server gets what suits it best."""
    stack: str = "plain"
    """What stands around the application: nothing, static files, the full set, or what a site usually has."""
    headers: dict = field(default_factory=dict)
    """Headers that every answer must have."""


def _one(target="/", connections=64, body=hello.BODY, **more):
    return [Group("all", connections, request(target, **more), body)]


def _site(target, headers=None):
    return [Group("all", 64, request(target, headers=headers), None, holds=b"Seven steps")]


SCENARIOS = {scenario.name: scenario for scenario in [
    Scenario("hello", "13 octets out", _one()),
    Scenario("browser", "12 request headers in, 8 headers and 2 KiB out", _one("/catalogue/item?id=17&ref=home", body=browser.BODY, headers=BROWSER_HEADERS),
             app="browser:app", headers={"Set-Cookie": None, "X-Frame-Options": "DENY", "Vary": "Cookie, Accept-Language"}),
    Scenario("stream", "1 MiB out in 64 chunks of a generator", _one(body=stream.CHUNK * stream.CHUNKS), app="stream:app"),
    Scenario("upload", "1 MiB in, read in 64 KiB and hashed", _one(method="POST", body=hashlib.sha256(UPLOAD).hexdigest().encode()), app="upload:app"),
    Scenario("static-10k", "a file of 10 KB", _one("/static/10k.bin", body=FILES["10k.bin"]), stack="static"),
    Scenario("static-1m", "a file of 1 MiB", _one("/static/1m.bin", body=FILES["1m.bin"]), stack="static"),
    Scenario("sleep", "the application waits 10 ms, 32 threads", _one(), app="sleep:app", threads=32),
    Scenario("mixed", "4 connections wait 10 ms each time, 32 want 13 octets, 8 threads", [
        Group("fast", 32, request("/"), hello.BODY),
        Group("slow", 4, request("/slow"), hello.BODY),
    ], app="mixed:app", threads=8),
    Scenario("full", "10 KB of JSON through gzip level 6, access log, basic auth, beside a static mount", _one("/api/items", body=full.BODY, headers={
        "Accept-Encoding": "gzip",
        "User-Agent": BROWSER_HEADERS["User-Agent"],
        "Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    }), app="full:app", stack="full", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}),
    Scenario("django-api", "the Django example's list of notes as JSON", _site("/api/notes/"), app=SITE_APP),
    Scenario("django-page", "the same as a page: templates, session, SQLite", _site("/"), app=SITE_APP),
    Scenario("django-stack", "that page with gzip, security headers and access log: native layers, nginx, or Python middleware",
             _site("/", {"Accept-Encoding": "gzip", "User-Agent": BROWSER_HEADERS["User-Agent"]}), app=SITE_APP, stack="site",
             headers={"Content-Encoding": "gzip", "X-Content-Type-Options": "nosniff", "X-Frame-Options": None}),
]}
# `request` builds the head from the answer's point of view only; an upload carries its body along.
SCENARIOS["upload"].groups[0].request = request("/", "POST", body=UPLOAD)
