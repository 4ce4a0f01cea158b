"""Ziggurat: an application server and a stack of native middleware for WSGI applications.

The work is done in the native module. This package gives it a command (`ziggurat`, or `python -m ziggurat`), and gives other WSGI servers its
stacks: `load` a pipeline file, or `stack` layers over an application.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from wsgiref.types import WSGIApplication

from . import _native
from ._native import DeadlineExceeded, PipelineError, Stack, __version__

__all__ = ["DeadlineExceeded", "Layer", "PipelineError", "Stack", "__version__", "load", "main", "stack"]

Layer: TypeAlias = str | Mapping[str, Any]
"""A layer as a pipeline file has it: its name, or a mapping of its name to its options. Paths may be path objects."""


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Stack:
    """The stack of a pipeline file as a WSGI application, for any WSGI server:

        application = ziggurat.load("pipeline.json")

    It answers as `ziggurat run` would, layers, routes and apps alike, on the threads of the server that calls it. What the file says of
    addresses (`listen`), of the server and of processes and threads (`workers`, `threads`, `queue`, `deadline`, ...) is that server's business
    and has no effect; `env` of an app is put into `os.environ`.

    `environ` is where `${NAME}` in the file is looked up: by default `os.environ`.

    Raises `PipelineError` where something is wrong with the file, a folder it names is not there, or an app cannot be imported.
    """
    return _native.load(path, environ)


def stack(app: WSGIApplication, layers: Iterable[Layer], *, base: str | os.PathLike[str] | None = None) -> Stack:
    """A WSGI application under native layers, outermost first:

        application = ziggurat.stack(get_wsgi_application(), ["request_id", {"compress": {"level": 6}}])
        app.wsgi_app = ziggurat.stack(app.wsgi_app, [{"static": {"at": "/static", "root": "static"}}])

    Layers are those of pipeline files (`ziggurat layers` lists them), Python middleware among them: `{"wsgi": "pkg.mod:Middleware"}`. Strings
    may hold `${NAME}`, as in a file. Relative paths start at `base`: by default the working folder.

    To the app it is the server that calls it, and to that server it is the app: exceptions of the app reach it, and what a layer of it
    wants with the request's headers, it finds there.

    Raises `PipelineError` where something is wrong with the layers; its text points into the list.
    """
    return _native.stack(app, layers, base)


def main() -> None:
    """Runs the command line in `sys.argv` and ends the process with its exit code: 0, 1 at run time, 2 for a bad file or bad usage."""
    sys.exit(_native.main(sys.argv))
