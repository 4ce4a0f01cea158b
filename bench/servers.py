"""How each server is started for a scenario: the commands, and the files they read."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import proxies
from peers import DJANGO, SITE, VENV
from process import free_port
from scenarios import APPS, FILES, NOTES_APP, ORIGIN, PASSWORD, USER

ZIGGURAT = {"ziggurat": 4, "ziggurat-pool": 4, "ziggurat-python": 4}
"""Name and, where the scenario does not say otherwise, threads. The first is the default mode: a front and worker processes. The last is the same with
nothing native around a site, as the other servers have it."""
DEPOT = SITE / "depot"

WSGI = ["gunicorn", "granian", "bjoern", "fastwsgi", "waitress", "uwsgi"]
NATIVE = [*ZIGGURAT, "nginx", "haproxy", "caddy"]
"""Without Python of the peers' environment."""
BY_UWSGI = ["nginx+uwsgi", "nginx+ziggurat"]
"""Behind nginx by `uwsgi_pass`."""
NAMES = [*NATIVE, *WSGI, *BY_UWSGI, "nginx+granian", "nginx+gunicorn"]

PROMISES = """add_header X-Request-Id $request_id always; add_header X-Frame-Options DENY always; add_header X-Content-Type-Options nosniff always;
    add_header Referrer-Policy same-origin always; add_header Cross-Origin-Opener-Policy same-origin always;
    add_header Access-Control-Allow-Origin $allowed_origin always; add_header Vary Origin always;"""
"""What Ziggurat's layers and the Python middleware add, in nginx's words. A location that adds a header of its own inherits none."""


@dataclass
class Place:
    """Where a server runs."""

    port: int
    folder: Path
    """For its files; ends with the run."""
    workers: int
    """Processes, where a server has them."""
    ziggurat: str
    nginx: str | None
    upstream: int = 0
    """The port of the upstream of proxies."""
    preload: list | None = None
    """Paths: the application is imported once, where the server can, answers these once, where it can, and is then forked."""


def applies(name, scenario):
    """Whether `name` can serve `scenario` at all."""
    if scenario.upstream:
        return proxies.applies(name, scenario)
    if name == "ziggurat-python":
        return scenario.stack == "site"
    if name in ZIGGURAT:
        return True
    if scenario.http == "2":
        return name == "granian"
    if scenario.stack == "static":
        return name in ("granian", "nginx", "caddy")
    if scenario.stack == "full":
        return name.startswith("nginx+")
    if scenario.stack == "cached":
        return name in ("nginx+granian", "nginx+gunicorn")
    if scenario.stack == "site":
        return name.startswith("nginx+") or name in ("gunicorn", "granian", "uwsgi")
    return name in (*WSGI, *BY_UWSGI)


def missing(name, scenario, place):
    """What is not installed, or None."""
    if scenario.upstream and (lacks := proxies.missing(name, scenario.upstream, place)):
        return lacks
    behind = name.removeprefix("nginx").removeprefix("+")
    if name.startswith("nginx") and not place.nginx:
        return "nginx (apt-get install nginx, or --nginx PATH)"
    if behind in ZIGGURAT:
        return None if os.access(place.ziggurat, os.X_OK) else f"{place.ziggurat} (cargo build --release)"
    if name in proxies.NAMES and scenario.upstream:
        return None
    if name == "caddy":
        return None if shutil.which("caddy") else "caddy (apt-get install caddy)"
    command = {"bjoern": "lib/python3*/site-packages/bjoern*", "fastwsgi": "bin/fastwsgi", "waitress": "bin/waitress-serve"}.get(behind, f"bin/{behind}")
    return None if not behind or any(VENV.glob(command)) else f"{behind} in {VENV}"


def commands(name, scenario, place):
    """The command lines to start together."""
    if scenario.upstream:
        return [proxies.command(name, scenario.upstream, place)]
    if name in ZIGGURAT:
        return [_ziggurat(name, scenario, place, f"127.0.0.1:{place.port}")]
    if name == "caddy":
        return [proxies.caddy(place, f"root * {place.folder}\n    file_server")]
    front, _, behind = name.rpartition("nginx")[2].rpartition("+")
    if not name.startswith("nginx"):
        return [_wsgi(name, scenario, f"127.0.0.1:{place.port}", place)]
    if not behind:
        return [_nginx(place, scenario, "")]
    socket = place.folder / "app.sock"
    if name in BY_UWSGI:
        listen = {"at": f"unix:{socket}", "protocol": "uwsgi"}
        # nginx does what native layers would.
        app = _uwsgi(scenario, place, ["--socket", str(socket)]) if behind == "uwsgi" else _ziggurat("ziggurat-python", scenario, place, listen)
        return [app, _nginx(place, scenario, f"include uwsgi_params; uwsgi_pass unix:{socket};")]
    # Granian and gunicorn listen on TCP: the hop costs the same within a few per cent.
    port = free_port()
    if scenario.stack == "cached":
        # nginx stores a compressed page only if the application compresses it.
        scenario = replace(scenario, app="depot.under_gzip:application")
    return [
        _wsgi(behind, scenario, f"127.0.0.1:{port}", place),
        _nginx(place, scenario, "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;", f"upstream app {{ server 127.0.0.1:{port}; keepalive 64; }}"),
    ]


def environment(name, scenario, folder):
    """The same for all: the applications on the path, the peers' environment active. Only where nothing native stands around a site, its settings
    have all that it wants as Python middleware."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "GRANIAN_", "GUNICORN_", "UWSGI_"))}
    all_python = scenario.stack == "site" and name in (*WSGI, "ziggurat-python")
    settings = "fieldnotes.settings" if scenario.app == NOTES_APP else "depot.all_python" if all_python else "depot.settings"
    return kept | {
        "PYTHONPATH": f"{APPS}:{DJANGO}", "PATH": f"{VENV}/bin:{kept['PATH']}", "VIRTUAL_ENV": str(VENV), "PYTHONWARNINGS": "ignore",
        "SITE_VAR": str(SITE), "DEPOT_VAR": str(DEPOT), "DJANGO_SETTINGS_MODULE": settings, "ACCESS_LOG": str(folder / "access.log"),
    }


def write_files(folder):
    """Static files and passwords."""
    static = folder / "static"
    static.mkdir()
    for name, content in FILES.items():
        (static / name).write_bytes(content)
    # nginx has no memory for passwords that were right, so it gets the cheapest scheme it knows.
    (folder / "plain.htpasswd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    # `openssl passwd -apr1 -salt benchben 'correct horse'`: what `htpasswd` writes by default.
    (folder / "htpasswd").write_text(f"{USER}:$apr1$benchben$b/KBmiU/eH4kg.NQdIRyD1\n")


def _ziggurat(name, scenario, place, listen):
    threads = scenario.threads or ZIGGURAT[name]
    workers = 0 if name == "ziggurat-pool" else place.workers
    static = {"static": {"at": "/static", "root": str(place.folder / "static")}}
    layers = {
        "plain": [],
        "static": [static],
        "full": [
            {"access_log": {"to": str(place.folder / "access.log")}},
            {"basic_auth": {"realm": "bench", "users": str(place.folder / "htpasswd")}},
            {"compress": {"with": ["gzip"], "level": 6}},
            static,
        ],
        "cached": ["cache", {"compress": {"with": ["gzip"], "level": 6}}],
        "site": [
            "request_id",
            {"access_log": {"to": str(place.folder / "access.log")}},
            "security_headers",
            {"cors": {"origins": [ORIGIN]}},
            {"compress": {"with": ["gzip"], "level": 6, "above": "200B"}},
            {"static": {"root": str(DEPOT / "static"), "immutable": True}},
        ],
    }["plain" if name == "ziggurat-python" else scenario.stack]
    pipeline = {
        "listen": listen,
        "layers": [*layers, *scenario.layers],
        "app": {"wsgi": {"app": scenario.app, "workers": workers, "threads": threads}},
    }
    if place.preload and workers:
        pipeline["app"]["wsgi"]["preload"] = {"warm_up": place.preload}
    file = place.folder / f"{name}.json"
    file.write_text(json.dumps(pipeline, indent=2))
    return [place.ziggurat, "run", str(file)]


def _wsgi(name, scenario, address, place):
    port = address.rpartition(":")[2]
    threads = str(scenario.threads or 1)
    workers = str(place.workers)
    if name == "gunicorn":
        # gthread: the default class closes after each request. 4 threads did best of 1, 2, 4 and 8 where the application only computes.
        return ["gunicorn", "--bind", address, "--workers", workers, "--worker-class", "gthread", "--threads", str(scenario.threads or 4),
                "--no-control-socket", *(["--preload"] if place.preload else []), "--log-level", "error", scenario.app]
    if name == "granian":
        static = ["--static-path-route", "/static", "--static-path-mount", str(place.folder / "static")] if scenario.stack == "static" else []
        return ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", port, "--workers", workers, "--blocking-threads", threads,
                "--http", scenario.http, "--no-ws", "--log-level", "error", *static, scenario.app]
    if name == "bjoern":
        return ["python", str(APPS / "serve_bjoern.py"), scenario.app, port]
    if name == "fastwsgi":
        return ["fastwsgi", "--host", "127.0.0.1", "--port", port, scenario.app]
    if name == "waitress":
        return ["waitress-serve", f"--listen={address}", f"--threads={scenario.threads or 4}", scenario.app]
    return _uwsgi(scenario, place, ["--http", address, "--http-keepalive", "--http-auto-chunked"])


def _uwsgi(scenario, place, listen):
    return ["uwsgi", *listen, "--master", "--die-on-term", "--need-app", "--disable-logging", "--processes", str(place.workers),
            "--threads", str(scenario.threads or 1), "--listen", "128", *([] if place.preload else ["--lazy-apps"]), "--module", scenario.app]


def _nginx(place, scenario, pass_on, upstream=""):
    folder = place.folder
    around = {
        "plain": "access_log off;",
        "static": "access_log off;",
        "cached": "access_log off; proxy_cache_path cache keys_zone=pages:16m; proxy_cache pages;",
        "full": """access_log access.log combined; gzip on; gzip_comp_level 6; gzip_min_length 1024; gzip_types application/json;
    auth_basic bench; auth_basic_user_file plain.htpasswd;""",
        "site": f"""access_log access.log combined; gzip on; gzip_comp_level 6; gzip_min_length 200; gzip_types application/json; gzip_proxied any; gzip_vary on; gzip_static on;
    {PROMISES} map $http_origin $allowed_origin {{ {ORIGIN} $http_origin; }}""",
    }[scenario.stack]
    static = f"alias {DEPOT}/static/; {PROMISES} add_header Cache-Control 'max-age=315360000, public, immutable';" if scenario.stack == "site" else f"alias {folder}/static/;"
    (folder / "uwsgi_params").write_text("".join(f"uwsgi_param {name} {value};\n" for name, value in {
        "QUERY_STRING": "$query_string", "REQUEST_METHOD": "$request_method", "CONTENT_TYPE": "$content_type", "CONTENT_LENGTH": "$content_length",
        "REQUEST_URI": "$request_uri", "PATH_INFO": "$document_uri", "SERVER_PROTOCOL": "$server_protocol", "REMOTE_ADDR": "$remote_addr",
        "REMOTE_PORT": "$remote_port", "SERVER_PORT": "$server_port", "SERVER_NAME": "$server_name", "HTTP_X_REQUEST_ID": "$request_id",
    }.items()))
    (folder / "nginx.conf").write_text(f"""
daemon off; pid nginx.pid; worker_processes {place.workers}; error_log stderr error; {"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 1024; }}
http {{
    sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_max_body_size 16m; open_file_cache max=1000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {upstream}
    {around}
    server {{
        listen 127.0.0.1:{place.port};
        location /static/ {{ {static} }}
        location / {{ {pass_on or "return 404;"} }}
    }}
}}
""")
    return [place.nginx, "-p", f"{folder}/", "-c", f"{folder}/nginx.conf", "-e", "stderr"]
