#!/usr/bin/env python3
"""Measures what TLS costs beside nginx and Caddy: full and resumed handshakes, a small response over HTTP/1.1 and HTTP/2, and the memory of an idle connection. See README.md."""

import argparse
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from process import ServerFailed, Tree, free_port
from run import ROOT

NAMES = ["ziggurat", "nginx", "caddy"]
BODY = "Hello, World!"
ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE = 500
"""Connections whose memory is measured, after as many that the allocator has got room for."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=ROOT / "target/release/ziggurat", help="the program (default: %(default)s)")
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server, taken in turns (default: %(default)s)")
    parser.add_argument("--handshakes", type=int, default=1000, help="handshakes of a measurement (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=20000, help="requests of a measurement (default: %(default)s)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server, client = {cores[0]}, set(cores[1:]) or {cores[0]}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        certificate(folder)
        trees = {}
        try:
            for name in options.peers:
                if name != "ziggurat" and not shutil.which(name):
                    print(f"left out: {name} (apt-get install {name})", file=sys.stderr)
                    continue
                port = free_port()
                trees[name] = Tree([command(name, port, folder, options)], cwd=folder, env=os.environ | {"HOME": temporary}, cores=server, log=folder / f"{name}.log", port=port)
                trees[name].wait_for_port()
            os.sched_setaffinity(0, client)
            for title, work in measurements(options, folder).items():
                report(title, trees, work, options.rounds)
            print("\nidle connections: octets each, beyond the kernel's share")
            for name, tree in trees.items():
                print(f"  {name:10}  {idle(tree, folder):8.0f}")
        finally:
            for tree in trees.values():
                tree.stop()


def certificate(folder):
    """A certificate with an ECDSA key, as public authorities issue by default."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], cwd=folder, check=True, capture_output=True)


def command(name, port, folder, options):
    """One process with one thread that serves the same response."""
    if name == "ziggurat":
        listen = {"at": f"127.0.0.1:{port}", "tls": {"cert": "cert.pem", "key": "key.pem"}}
        (folder / "pipeline.json").write_text(json.dumps({"listen": listen, "server": {"threads": 1}, "app": {"respond": {"body": BODY}}}))
        return [str(Path(options.ziggurat).resolve()), "run", str(folder / "pipeline.json")]
    if name == "nginx":
        (folder / "nginx.conf").write_text(f"""
daemon off; pid nginx.pid; worker_processes 1; error_log stderr error; {"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:all:10m;
    server {{ listen 127.0.0.1:{port} ssl http2; default_type text/plain; location / {{ return 200 "{BODY}"; }} }}
}}
""")
        return ["nginx", "-p", f"{folder}/", "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    (folder / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls cert.pem key.pem
    respond "{BODY}"
}}
""")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def measurements(options, folder):
    """What is measured, by its title: what does it, and how often."""
    context = trusting(folder)
    return {
        "full handshake": (lambda port: handshakes(port, context, options.handshakes, resumed=False), options.handshakes),
        "resumed handshake": (lambda port: handshakes(port, context, options.handshakes, resumed=True), options.handshakes),
        "request over HTTP/1.1": (lambda port: requests(port, options.requests, "--h1", 64, 1), options.requests),
        "request over HTTP/2": (lambda port: requests(port, options.requests, "--npn-list=h2", 8, 8), options.requests),
    }


def report(title, trees, work, rounds):
    """Medians of the CPU time of each server, taken in turns, and their ratios to the first one."""
    do, count = work
    samples = {name: [] for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            before = tree.cpu()
            do(tree.port)
            samples[name].append((tree.cpu() - before) * 1e6 / count)
    costs = {name: statistics.median(taken) for name, taken in samples.items()}
    base = next(iter(costs.values()))
    print(f"\n{title}: CPU of the server")
    for name, cost in costs.items():
        print(f"  {name:10}  {cost:8.1f} us  {cost / base:6.2f}", flush=True)


def trusting(folder):
    context = ssl.create_default_context(cafile=folder / "cert.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def connect(port, context, session=None):
    stream = socket.create_connection(("127.0.0.1", port), timeout=20)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream, server_hostname="localhost", session=session)


def ask(stream):
    """Reads a whole response and checks it; tickets of TLS 1.3 come before it."""
    stream.sendall(ASK)
    answer = b""
    while not answer.endswith(BODY.encode()):
        octets = stream.recv(4096)
        assert octets, answer
        answer += octets
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def handshakes(port, context, count, resumed):
    """A connection each, with one request. A session is used once, as RFC 8446 section 8 advises."""
    session = None
    if resumed:
        with connect(port, context) as first:
            ask(first)
            session = first.session
    for _ in range(count):
        with connect(port, context, session) as stream:
            ask(stream)
            if stream.session_reused != resumed:
                raise ServerFailed(f"the session is {'not ' if resumed else ''}resumed")
            session = stream.session if resumed else None


def requests(port, count, protocol, connections, streams):
    command = ["h2load", protocol, f"-n{count}", f"-c{connections}", f"-m{streams}", f"https://localhost:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if not re.search(rf"{count} succeeded, 0 failed, 0 errored", done) or f"status codes: {count} 2xx" not in done or f"{count * len(BODY)}) data" not in done:
        raise ServerFailed(done)


def idle(tree, folder):
    context = trusting(folder)
    kept, sizes = [], []
    for _ in range(2):
        sizes.append(tree.memory())
        for _ in range(IDLE):
            kept.append(connect(tree.port, context))
            ask(kept[-1])
    grown = tree.memory() - sizes[1]
    for stream in kept:
        stream.close()
    return grown / IDLE


if __name__ == "__main__":
    main()
