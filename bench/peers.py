"""What a run needs: the peers in an environment of their own, the load generator, the Django example's database."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent
VENV = BENCH / ".venv"
DJANGO = BENCH.parent / "examples/django"
SITE = BENCH / ".site"
"""Databases and static files: of the Django example, apart from those of `make run`, and of the depot."""
LOAD = BENCH / "load" / "target" / "release" / "load"


def environment():
    """The virtual environment of all servers, made where it is missing."""
    if not VENV.exists():
        venv.create(VENV, with_pip=True)


def install():
    """Installs each pinned peer that is missing. One that does not build is reported and left out."""
    environment()
    have = subprocess.run([VENV / "bin/pip", "freeze", "--all"], capture_output=True, text=True, check=True).stdout.lower().split()
    for line in (BENCH / "requirements.txt").read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement and requirement.lower() not in have:
            print(f"installing {requirement}", file=sys.stderr)
            done = subprocess.run([VENV / "bin/pip", "install", "--quiet", requirement], capture_output=True, text=True)
            if done.returncode:
                hint = " (it needs libev-dev)" if requirement.startswith("bjoern") else ""
                print(f"left out: {requirement} does not install{hint}\n{done.stderr[-600:]}", file=sys.stderr)


def build_load():
    """The load generator, built when its source is newer."""
    if not shutil.which("cargo"):
        sys.exit("error: `cargo` is needed to build bench/load")
    subprocess.run(["cargo", "build", "--quiet", "--release", "--manifest-path", BENCH / "load" / "Cargo.toml", "--target-dir", BENCH / "load" / "target"], check=True)
    return LOAD


def prepare_sites():
    """The data of the Django example and of the depot."""
    environment = os.environ | {"SITE_VAR": str(SITE), "DEPOT_VAR": str(SITE / "depot"), "PYTHONPATH": str(BENCH / "apps")}
    for command in [[DJANGO / "manage.py", "prepare", "--demo"], ["-m", "depot.prepare"]]:
        subprocess.run([VENV / "bin/python", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
