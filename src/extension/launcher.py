"""How the interpreter of this process is started again, as `multiprocessing` does for the method `spawn`."""

import os
import subprocess
import sys

CODE = """import os, runpy, sys
path = {path!a}
if not sys.flags.ignore_environment:
    given = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    path[:0] = [folder for folder in given if folder not in path]
sys.path[:] = path
runpy.run_module({package!a}, run_name="__main__", alter_sys=True)
"""


def arguments(package):
    """The arguments that run a package with the flags, warnings, `-X` options and search path of this process."""
    flags = subprocess._args_from_interpreter_flags()
    for name, value in sys._xoptions.items():
        flags += ["-X", name if value is True else f"{name}={value}"]
    # The working folder is searched only if this process searches it.
    path = [entry or os.getcwd() for entry in sys.path if isinstance(entry, str)]
    return [*flags, "-P", "-c", CODE.format(path=path, package=package)]


def python_path():
    """The `PYTHONPATH` that this process was started with, where it has removed a part: agents do so when they have hooked themselves in."""
    with open("/proc/self/environ", "rb") as environ:
        first = dict(entry.split(b"=", 1) for entry in environ.read().split(b"\0") if b"=" in entry)
    before = [folder for folder in os.fsdecode(first.get(b"PYTHONPATH", b"")).split(os.pathsep) if folder]
    now = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    removed = [folder for folder in before if folder not in now]
    return os.pathsep.join(removed + now) if removed else None
