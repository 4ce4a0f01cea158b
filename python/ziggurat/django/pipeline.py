"""The pipeline file as the program understands it: which ways lead a request to which app."""

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

#: How the program is started by this Python: the module is meant, and not one that happens to lie in the working folder.
PROGRAM = [sys.executable, "-P", "-m", "ziggurat"]

#: A site's own settings are imported while the file is read, which may take some seconds.
_PATIENCE = 60


class Unreadable(Exception):
    """The program refuses the file; the text says why, with line and column."""


@dataclass(frozen=True)
class Stage:
    """A layer or an app, with its options, defaults filled in."""

    kind: str
    options: Options


@dataclass(frozen=True)
class Way:
    """What a request passes on its way to an app, outermost first."""

    layers: tuple[Stage, ...]
    #: Hosts that the routes on the way ask for.
    hosts: tuple[str, ...]
    #: Prefixes that the routes on the way have taken from the path.
    mount: str
    app: Stage

    def layer(self, kind: str) -> Stage | None:
        """The first layer of this kind."""
        return next((layer for layer in self.layers if layer.kind == kind), None)


@dataclass(frozen=True)
class Pipeline:
    """A file, with everything in it spelled out."""

    folder: Path
    ways: tuple[Way, ...]


def find() -> Path | None:
    """The project's pipeline file: the setting `ZIGGURAT_PIPELINE`, or `pipeline.json` in the working folder or in `BASE_DIR`."""
    named = getattr(settings, "ZIGGURAT_PIPELINE", None)
    if named:
        return Path(named)
    folders = [Path.cwd(), *(Path(folder) for folder in [getattr(settings, "BASE_DIR", None)] if folder)]
    files = (folder / name for folder in folders for name in ("pipeline.json", "pipeline.jsonc"))
    return next((file for file in files if file.is_file()), None)


def read(file: Path) -> Pipeline:
    """Has the program read the file. Raises `Unreadable` where it is refused."""
    command = [*PROGRAM, "show", "--json", str(file)]
    environment = {**os.environ, "NO_COLOR": "1"}
    try:
        shown = subprocess.run(command, capture_output=True, check=False, env=environment, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as late:
        raise Unreadable(f"`ziggurat show` has not ended within {_PATIENCE} seconds") from late
    if shown.returncode != 0:
        raise Unreadable(shown.stderr.strip())
    spelled = json.loads(shown.stdout)
    return Pipeline(file.absolute().parent, tuple(_ways(spelled, spelled.get("apps", {}))))


def _ways(stack: Options, apps: Options, layers: tuple[Stage, ...] = (), hosts: tuple[str, ...] = (), mount: str = "") -> Iterator[Way]:
    layers += tuple(_stage(layer) for layer in stack["layers"])
    app = stack["app"]
    if isinstance(app, str):
        yield from _ways(apps[app], apps, layers, hosts, mount)
    elif "routes" in app:
        for route in app["routes"]:
            asked = route.get("match", {}).get("host", [])
            of_route = (asked,) if isinstance(asked, str) else tuple(asked)
            yield from _ways(route, apps, layers, of_route or hosts, mount + route.get("mount", "").rstrip("/"))
    else:
        yield Way(layers, hosts, mount, _stage(app))


def _stage(entry: Options) -> Stage:
    ((kind, options),) = entry.items()
    return Stage(kind, options)
