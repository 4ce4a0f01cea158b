"""`manage.py ziggurat`: serves the site during development."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ziggurat.django.pipeline import PROGRAM, find

_HERE = "127.0.0.1"
_PORT = "8000"


class Command(BaseCommand):
    """Checks the site, then executes the server."""

    help = (
        "Serves the site with Ziggurat, and reloads it when its code changes. The layers are those of the project's pipeline.json; "
        "without one, static files, uploads and the app are served as the settings say."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the arguments of `runserver` that apply."""
        where = f"Where to listen: a port, or an address and a port. By default what the pipeline file says, or {_HERE}:{_PORT}."
        parser.add_argument("addrport", nargs="?", help=where)
        parser.add_argument("--pipeline", metavar="FILE", help="The pipeline file, if it is another one than the project's pipeline.json.")
        parser.add_argument("--noreload", action="store_false", dest="reload", help="Does not reload when code changes.")

    def handle(self, *args: Any, addrport: str | None, pipeline: str | None, reload: bool, **options: Any) -> None:
        """Called after the system checks. The program replaces this process, so it handles interrupts itself."""
        self.check_migrations()
        file = Path(pipeline) if pipeline else find()
        if file and not file.is_file():
            raise CommandError(f"there is no pipeline file {str(file)!r}")
        listen = _address(addrport) if addrport else None
        if file:
            command = ["run", str(file), *(["--listen", listen] if listen else [])]
        else:
            # Modules are searched for in the working folder.
            os.chdir(_home(settings.SETTINGS_MODULE))
            command = ["--django", settings.SETTINGS_MODULE, "--listen", listen or f"{_HERE}:{_PORT}"]
        if reload:
            command.append("--watch")
        self.stdout.flush()
        self.stderr.flush()
        os.execv(PROGRAM[0], [*PROGRAM, *command])


def _address(addrport: str) -> str:
    """The address in the program's form. A port alone is one of this machine."""
    host, _, port = addrport.rpartition(":")
    if not port.isdecimal():
        raise CommandError(f"{addrport!r} is neither a port nor an address with a port")
    # `runserver` writes 0 for all addresses.
    return f"{'0.0.0.0' if host == '0' else host or _HERE}:{port}"


def _home(module: str) -> Path:
    """The folder of this module's top-level package."""
    top = importlib.util.find_spec(module.partition(".")[0])
    if top and top.submodule_search_locations:
        return Path(next(iter(top.submodule_search_locations))).parent
    return Path(top.origin).parent if top and top.origin else Path(sys.path[0])
