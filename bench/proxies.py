"""Reverse proxies in front of one upstream, an nginx with files or PHP-FPM: the commands, and the files they read."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from process import Tree
from scenarios import APPS

FPM = next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"), reverse=True)), None) or shutil.which("php-fpm")
"""Debian puts the version into the name."""

NAMES = ["ziggurat", "nginx", "haproxy", "caddy"]


@contextmanager
def upstream(place, speaks, cores):
    """The upstream on `cores`."""
    command = _php_fpm(place) if speaks == "fastcgi" else _files(place, speaks)
    tree = Tree([command], cwd=place.folder, env=dict(os.environ), cores=cores, log=place.folder / "upstream.log", port=place.upstream)
    try:
        tree.wait_for_port()
        yield
    finally:
        tree.stop()


def _php_fpm(place):
    """A child for each connection of the load."""
    conf, root = place.folder / "php-fpm.conf", os.getuid() == 0
    conf.write_text(f"""
[global]
daemonize = no
error_log = /dev/stderr
log_level = warning
[www]
listen = 127.0.0.1:{place.upstream}
{"user = root" if root else ""}
{"group = root" if root else ""}
pm = static
pm.max_children = 16
""")
    return [str(FPM), "--nodaemonize", *(["--allow-to-run-as-root"] if root else []), "--fpm-config", str(conf)]


def _files(place, http):
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
    return [place.nginx, "-p", f"{place.folder}/", "-c", str(conf), "-e", "stderr"]


def applies(name, scenario):
    """nginx speaks HTTP/1.1 to upstreams. PHP is compared with nginx alone, which stands before it nearly everywhere."""
    without = {"2": ["nginx"], "fastcgi": ["haproxy", "caddy"]}
    return name in NAMES and name not in without.get(scenario.upstream, [])


def missing(name, speaks, place):
    """What is not installed, or None."""
    if speaks == "fastcgi" and not FPM:
        return "PHP-FPM (apt-get install php-fpm)"
    if not place.nginx and (speaks != "fastcgi" or name == "nginx"):
        return "nginx"
    return None if name in ("ziggurat", "nginx") or shutil.which(name) else f"{name} (apt-get install {name})"


def command(name, http, place):
    """One process tree that passes requests on, keeps connections on both sides, and tells the upstream who the client is."""
    folder, listen, to = place.folder, f"127.0.0.1:{place.port}", f"127.0.0.1:{place.upstream}"
    if http == "fastcgi":
        return _before_php(name, listen, to, place)
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
    return caddy(place, f"reverse_proxy {'h2c://' if http == '2' else ''}{to}")


def caddy(place, directive):
    """Caddy with one site in clear text."""
    (place.folder / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
http://:{place.port} {{
    bind 127.0.0.1
    {directive}
}}
""")
    return [shutil.which("caddy"), "run", "--config", str(place.folder / "Caddyfile"), "--adapter", "caddyfile"]


def _before_php(name, listen, to, place):
    """Both find the script in the path, look whether it is there, and open a connection for each request. nginx does so by what Debian's `snippets/fastcgi-php.conf` has."""
    folder = place.folder
    if name == "ziggurat":
        (folder / "php.json").write_text(json.dumps({"listen": listen, "app": {"fastcgi": {"to": to, "root": str(APPS)}}}))
        return [place.ziggurat, "run", str(folder / "php.json")]
    params = {
        "SCRIPT_FILENAME": "$document_root$fastcgi_script_name", "QUERY_STRING": "$query_string", "REQUEST_METHOD": "$request_method", "CONTENT_TYPE": "$content_type",
        "CONTENT_LENGTH": "$content_length", "SCRIPT_NAME": "$fastcgi_script_name", "PATH_INFO": "$path_info", "REQUEST_URI": "$request_uri", "DOCUMENT_URI": "$document_uri",
        "DOCUMENT_ROOT": "$document_root", "SERVER_PROTOCOL": "$server_protocol", "REQUEST_SCHEME": "$scheme", "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "nginx/$nginx_version", "REMOTE_ADDR": "$remote_addr", "REMOTE_PORT": "$remote_port", "REMOTE_USER": "$remote_user", "SERVER_ADDR": "$server_addr",
        "SERVER_PORT": "$server_port", "SERVER_NAME": "$server_name", "REDIRECT_STATUS": "200",
    }
    (folder / "php.conf").write_text(f"""
daemon off; pid proxy.pid; worker_processes {place.workers}; error_log stderr error; {_user()}
events {{ worker_connections 4096; }}
http {{
    {_temporary_files("proxy")} access_log off; keepalive_requests 1000000000; client_max_body_size 0;
    server {{
        listen {listen};
        root {APPS};
        location ~ [.]php(/|$) {{
            fastcgi_split_path_info ^(.+?[.]php)(/.*)$; try_files $fastcgi_script_name =404; set $path_info $fastcgi_path_info;
            {" ".join(f"fastcgi_param {param} {value};" for param, value in params.items())}
            fastcgi_pass {to};
        }}
    }}
}}
""")
    return [place.nginx, "-p", f"{folder}/", "-c", f"{folder}/php.conf", "-e", "stderr"]


def _user():
    return "user root;" if os.getuid() == 0 else ""


def _temporary_files(folder):
    return " ".join(f"{kind}_temp_path {folder}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
