"""What is asked of the servers: requests, the answers that must come back, and the threads an application gets."""

import hashlib
import sys
from base64 import b64encode
from dataclasses import dataclass, field, replace
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"
sys.path.insert(0, str(APPS))

import browser  # noqa: E402
import full  # noqa: E402
import hello  # noqa: E402
import stream  # noqa: E402
from depot import assets  # noqa: E402

NOTES_APP = "fieldnotes.wsgi:application"
DEPOT_APP = "depot.wsgi:application"
ORIGIN = "https://app.example.com"
USER, PASSWORD = "bench", "correct horse"
FILES = {"1k.bin": bytes(range(256)) * 4, "10k.bin": bytes(range(250)) * 40, "64k.bin": bytes(range(256)) * 256, "1m.bin": bytes(range(256)) * 4096}
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
    """The octets of a request; `Host` is added where it is missing (with it, a browser's request has 12 headers)."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in ({"Host": "127.0.0.1"} | (headers or {})).items()]
    if body:
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Ask:
    """A request, and what must come back."""

    request: bytes
    body: bytes | None
    """The answer's body, after any content coding is undone. None: that of the first server asked, which all others must give too."""
    holds: bytes = b""
    """What the body must hold, where it is not known beforehand."""
    headers: dict = field(default_factory=dict)
    """Headers that the answer must have: with this value, with these words in a list (a set), or with any value (None)."""


@dataclass
class Group:
    """Connections that send the same requests again and again. Where there are several, all of them in turn are one visit, which is what is counted and timed."""

    name: str
    connections: int
    asks: list


@dataclass
class Scenario:
    name: str
    says: str
    groups: list
    app: str = "hello:app"
    threads: int | None = None
    """Threads that the application needs to do well; None where it only computes and each server gets what suits it best."""
    stack: str = "plain"
    """What stands around the application: nothing, static files, the full set, what a site usually has, or a cache of compressed responses."""
    layers: list = field(default_factory=list)
    """Layers of Ziggurat between that and the application."""
    http: str = "1"
    """The version of HTTP. The load of version 2 is h2load: it looks at the status and the length of each response, not at its octets."""
    upstream: str | None = None
    """What an upstream speaks which the servers pass requests on to, in place of an application: a version of HTTP, or FastCGI."""


def _one(target="/", body=hello.BODY, wants=None, connections=64, **more):
    return [Group("all", connections, [Ask(request(target, **more), body, headers=wants or {})])]


def _browser(target, **more):
    wants = {"Set-Cookie": None, "X-Frame-Options": "DENY", "Vary": "Cookie, Accept-Language"}
    return _one(target, body=browser.BODY, headers=BROWSER_HEADERS, wants=wants, **more)


def _notes(target):
    return [Group("all", 64, [Ask(request(target), None, holds=b"Seven steps")])]


# What the depot promises for every answer, whoever keeps the promise: Django's middleware, nginx or Ziggurat.
PROMISED = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "X-Request-Id": None}
PAGE = PROMISED | {"Content-Type": "text/html; charset=utf-8", "Content-Encoding": "gzip", "Vary": {"accept-encoding"}, "X-Frame-Options": "DENY"}


def _api():
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "Origin": ORIGIN, "User-Agent": BROWSER_HEADERS["User-Agent"]}
    wanted = PAGE | {"Content-Type": "application/json", "Access-Control-Allow-Origin": ORIGIN, "Vary": {"accept-encoding", "origin"}}
    return Ask(request("/api/items/D0042/", headers=headers), None, holds=b"D0042", headers=wanted)


def _page(target="/items/"):
    cookie = {"Cookie": f"theme=dark; sessionid={assets.SESSION}"}
    return Ask(request(target, headers=BROWSER_HEADERS | cookie), None, holds=b"Ann Keeper", headers=PAGE | {"Vary": {"accept-encoding", "cookie"}})


def _asset(name):
    """A file as the page names it, compressed where there is a compressed copy; browsers may keep it for ever."""
    wanted = PROMISED | {"Cache-Control": {"immutable", "public"}, "ETag": None, "Last-Modified": None}
    if not name.endswith("png"):
        wanted |= {"Content-Encoding": "gzip", "Vary": {"accept-encoding"}}
    return Ask(request(assets.target(name), headers=BROWSER_HEADERS), assets.ASSETS[name], headers=wanted)


SCENARIOS = {scenario.name: scenario for scenario in [
    Scenario("hello", "13 octets out", _one()),
    Scenario("hello-h2", "13 octets out over HTTP/2 without TLS", _one(), http="2"),
    Scenario("browser", "12 request headers in, 8 headers and 2 KiB out", _browser("/catalogue/item?id=17&ref=home"), app="browser:app"),
    Scenario("stream", "1 MiB out in 64 chunks of a generator", _one(body=stream.CHUNK * stream.CHUNKS), app="stream:app"),
    Scenario("upload", "1 MiB in, read in 64 KiB and hashed", _one(method="POST", body=hashlib.sha256(UPLOAD).hexdigest().encode()), app="upload:app"),
    Scenario("static-10k", "a file of 10 KB", _one("/static/10k.bin", body=FILES["10k.bin"]), stack="static"),
    Scenario("static-1m", "a file of 1 MiB", _one("/static/1m.bin", body=FILES["1m.bin"]), stack="static"),
    Scenario("proxy-1k", "1 KiB from an upstream over HTTP/1.1", _one("/1k.bin", body=FILES["1k.bin"]), upstream="1.1"),
    Scenario("proxy-64k", "64 KiB from the same upstream", _one("/64k.bin", body=FILES["64k.bin"]), upstream="1.1"),
    Scenario("proxy-1k-h2", "1 KiB from an upstream over HTTP/2 without TLS", _one("/1k.bin", body=FILES["1k.bin"]), upstream="2"),
    Scenario("php", "13 octets from a script of PHP-FPM over FastCGI", _one("/index.php", connections=16), upstream="fastcgi"),
    Scenario("php-browser", "a script of PHP-FPM over FastCGI: 12 request headers in, 8 headers and 2 KiB out", _browser("/index.php/catalogue/item?id=17&ref=home", connections=16), upstream="fastcgi"),
    Scenario("sleep", "the application waits 10 ms, 32 threads", _one(), app="sleep:app", threads=32),
    Scenario("mixed", "4 connections wait 10 ms each time, 32 want 13 octets, 8 threads", [
        Group("fast", 32, [Ask(request("/"), hello.BODY)]),
        Group("slow", 4, [Ask(request("/slow"), hello.BODY)]),
    ], app="mixed:app", threads=8),
    Scenario("full", "10 KB of JSON through gzip level 6, access log, basic auth, beside a static mount", _one("/api/items", body=full.BODY, headers={
        "Accept-Encoding": "gzip",
        "User-Agent": BROWSER_HEADERS["User-Agent"],
        "Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    }, wants={"Content-Encoding": "gzip", "Content-Type": "application/json"}), app="full:app", stack="full"),
    Scenario("django-api", "the Django example's list of notes as JSON", _notes("/api/notes/"), app=NOTES_APP),
    Scenario("django-page", "the same as a page: templates, session, SQLite", _notes("/"), app=NOTES_APP),
    *(Scenario(name, f"{says}; compression, static files, security headers, CORS, request id, access log: Python middleware, nginx, or native layers",
               [Group("all", connections, asks)], app=DEPOT_APP, stack="site") for name, says, connections, asks in [
        ("site-api", "a Django site's answer of 280 octets", 64, [_api()]),
        ("site-page", "its page of 14 KB for a user who is signed in", 16, [_page()]),
        ("site-visit", "that page and its 12 files, over one connection", 16, [_page(), *map(_asset, assets.ASSETS)]),
    ]),
    Scenario("django-cached", "a Django page of 30 KB that a cache has stored, compressed by gzip level 6", [
        Group("all", 64, [Ask(request("/report/kept/", headers=BROWSER_HEADERS | {"Accept-Encoding": "gzip"}), assets.REPORT, headers={"Content-Encoding": "gzip", "Vary": {"accept-encoding"}})]),
    ], app=DEPOT_APP, stack="cached"),
    Scenario("site-bare", "the first of these with the five middleware that stay in Python and nothing around it: the floor", [
        Group("all", 64, [replace(_api(), headers={})]),
    ], app=DEPOT_APP),
]}
# `request` builds the head from the answer's point of view only; an upload carries its body along.
SCENARIOS["upload"].groups[0].asks[0].request = request("/", "POST", body=UPLOAD)
