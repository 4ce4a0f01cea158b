"""The pipeline file as the program reads it: which layers a request passes on its way to which app."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

Options = dict[str, Any]

#: The command that starts the program. `-P` ignores a module of the same name in the working folder.
PROGRAM = [sys.executable, "-P", "-m", "ziggurat"]

#: In seconds. The program may import the site's settings when it reads the file.
_TIMEOUT = 60


class Unreadable(Exception):
    """The program refuses the file. The text says why, with line and column."""


@dataclass(frozen=True)
class Stage:
    """A layer or an app, with all its options."""

    kind: str
    options: Options


@dataclass(frozen=True)
class Chain:
    """An app and the layers above it, outermost first."""

    layers: tuple[Stage, ...]
    #: The hosts of the routes.
    hosts: tuple[str, ...]
    #: The prefixes that the routes take off the path.
    mount: str
    app: Stage

    def layer(self, kind: str) -> Stage | None:
        """The first layer of this kind."""
        return next((layer for layer in self.layers if layer.kind == kind), None)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline file with all defaults."""

    folder: Path
    chains: tuple[Chain, ...]
    #: Whether it listens with TLS.
    has_tls: bool


def find() -> Path | None:
    """The project's pipeline file: the setting `ZIGGURAT_PIPELINE`, or `pipeline.json` in the working folder or in `BASE_DIR`."""
    named = getattr(settings, "ZIGGURAT_PIPELINE", None)
    if named:
        return Path(named)
    folders = [Path.cwd(), *(Path(folder) for folder in [getattr(settings, "BASE_DIR", None)] if folder)]
    files = (folder / name for folder in folders for name in ("pipeline.json", "pipeline.jsonc"))
    return next((file for file in files if file.is_file()), None)


def read(file: Path) -> Pipeline:
    """Lets the program read the file. Raises `Unreadable` if it is refused."""
    spelled = _ask("show", "--json", str(file))
    listen = spelled.get("listen", [])
    has_tls = any(isinstance(entry, dict) and "tls" in entry for entry in (listen if isinstance(listen, list) else [listen]))
    return Pipeline(file.absolute().parent, tuple(_chains(spelled, spelled.get("apps", {}))), has_tls)


def replaced() -> dict[str, tuple[str, ...]]:
    """The Python middleware that each layer replaces, by dotted names."""
    return {layer["name"]: tuple(name.replace(":", ".") for name in layer["replaces"]) for layer in _ask("layers", "--json") if layer["replaces"]}


def _ask(*arguments: str) -> Any:
    """What the program answers, as JSON. Raises `Unreadable` if it refuses."""
    environment = {**os.environ, "NO_COLOR": "1"}
    try:
        answer = subprocess.run([*PROGRAM, *arguments], capture_output=True, check=False, env=environment, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as late:
        raise Unreadable(f"`ziggurat {arguments[0]}` did not end within {_TIMEOUT} seconds") from late
    if answer.returncode != 0:
        raise Unreadable(answer.stderr.strip())
    return json.loads(answer.stdout)


def _chains(stack: Options, apps: Options, layers: tuple[Stage, ...] = (), hosts: tuple[str, ...] = (), mount: str = "") -> Iterator[Chain]:
    layers += tuple(_stage(layer) for layer in stack["layers"])
    app = stack["app"]
    if isinstance(app, str):
        yield from _chains(apps[app], apps, layers, hosts, mount)
    elif "routes" in app:
        for route in app["routes"]:
            asked = route.get("match", {}).get("host", [])
            of_route = (asked,) if isinstance(asked, str) else tuple(asked)
            yield from _chains(route, apps, layers, of_route or hosts, mount + route.get("mount", "").rstrip("/"))
    else:
        yield Chain(layers, hosts, mount, _stage(app))


def _stage(entry: Options) -> Stage:
    ((kind, options),) = ((key, value) for key, value in entry.items() if key != "as")
    return Stage(kind, options)
