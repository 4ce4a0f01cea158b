"""Reverse proxies in front of one fast upstream, an nginx with files: the commands, and the files they read."""

import json
import os
import shutil
from contextlib import contextmanager

from process import Tree

NAMES = ["ziggurat", "nginx", "haproxy", "caddy"]


@contextmanager
def upstream(place, http, cores):
    """The upstream on `cores`. Gives its port."""
    conf = place.folder / "upstream.conf"
    conf.write_text(f"""
daemon off; pid upstream.pid; worker_processes 1; error_log stderr error; {_user()}
events {{ worker_connections 4096; }}
http {{
    {_temporary_files("upstream")} access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s; open_file_cache max=1000;
    types {{ }} default_type application/octet-stream; client_max_body_size 0;
    server {{
        listen 127.0.0.1:{place.upstream} {"http2" if http == "2" else ""};
        http2_max_concurrent_streams 128;
        location / {{ root {place.folder}/static; }}
    }}
}}
""")
    tree = Tree([[place.nginx, "-p", f"{place.folder}/", "-c", str(conf), "-e", "stderr"]], cwd=place.folder, env=dict(os.environ), cores=cores, log=place.folder / "upstream.log", port=place.upstream)
    try:
        tree.wait_for_port()
        yield
    finally:
        tree.stop()


def applies(name, scenario):
    """nginx speaks HTTP/1.1 to upstreams."""
    return name in NAMES and not (name == "nginx" and scenario.upstream == "2")


def missing(name, place):
    """What is not installed, or None."""
    if not place.nginx:
        return "nginx (the upstream)"
    return None if name in ("ziggurat", "nginx") or shutil.which(name) else f"{name} (apt-get install {name})"


def command(name, http, place):
    """One process tree that passes requests on, keeps connections on both sides, and tells the upstream who the client is."""
    folder, listen, to = place.folder, f"127.0.0.1:{place.port}", f"127.0.0.1:{place.upstream}"
    if name == "ziggurat":
        (folder / "proxy.json").write_text(json.dumps({"listen": listen, "app": {"proxy": {"to": f"http://{to}", "http": http, "limit": 4096}}}))
        return [place.ziggurat, "run", str(folder / "proxy.json")]
    if name == "nginx":
        (folder / "proxy.conf").write_text(f"""
daemon off; pid proxy.pid; worker_processes {place.workers}; error_log stderr error; {_user()}
events {{ worker_connections 4096; }}
http {{
    {_temporary_files("proxy")} access_log off; keepalive_requests 1000000000; client_max_body_size 0;
    upstream app {{ server {to}; keepalive 64; keepalive_requests 1000000000; }}
    map $http_upgrade $kept {{ default upgrade; '' ''; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_read_timeout 600s;
            proxy_set_header Connection $kept; proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
        }}
    }}
}}
""")
        return [place.nginx, "-p", f"{folder}/", "-c", f"{folder}/proxy.conf", "-e", "stderr"]
    if name == "haproxy":
        (folder / "haproxy.cfg").write_text(f"""
global
    nbthread {place.workers}
    maxconn 4000
defaults
    mode http
    option forwardfor
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout tunnel 10m
frontend front
    bind {listen}
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend app
backend app
    http-reuse always
    server one {to} {"proto h2" if http == "2" else ""}
""")
        return [shutil.which("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]
    (folder / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
http://:{place.port} {{
    bind 127.0.0.1
    reverse_proxy {"h2c://" if http == "2" else ""}{to}
}}
""")
    return [shutil.which("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _user():
    return "user root;" if os.getuid() == 0 else ""


def _temporary_files(folder):
    return " ".join(f"{kind}_temp_path {folder}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
