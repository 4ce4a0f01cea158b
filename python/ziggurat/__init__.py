"""Ziggurat: an application server and a stack of native middleware for WSGI applications.

The native module does the work. This package adds the command `ziggurat` (or `python -m ziggurat`), and stacks for other WSGI servers: `load` builds
that of a pipeline file, `stack` puts layers over an application.
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
"""A layer, as in a pipeline file: its name, or a mapping of its name to its options. Paths may be path objects."""


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Stack:
    """Returns the stack of a pipeline file as a WSGI application, for any WSGI server:

        application = ziggurat.load("pipeline.json")

    It responds as `ziggurat run` does, on the threads of the server that calls it. Options about addresses (`listen`), the server (`server`),
    processes and threads (`workers`, `threads`, `queue`, `deadline`, ...) have no effect. `env` of an app is set in `os.environ`.

    `${NAME}` in the file is looked up in `environ`, by default `os.environ`.

    Raises `PipelineError` if the file is wrong, a folder does not exist, or an app cannot be imported.
    """
    return _native.load(path, environ)


def stack(app: WSGIApplication, layers: Iterable[Layer], *, base: str | os.PathLike[str] | None = None) -> Stack:
    """Returns a WSGI application under layers, outermost first:

        application = ziggurat.stack(get_wsgi_application(), ["request_id", {"compress": {"level": 6}}])
        app.wsgi_app = ziggurat.stack(app.wsgi_app, [{"static": {"at": "/static", "root": "static"}}])

    The layers are those of pipeline files (`ziggurat layers` lists them), including Python middleware: `{"wsgi": "pkg.mod:Middleware"}`. Strings
    may contain `${NAME}`, as in a file. Relative paths start at `base`, by default the working folder.

    Exceptions of the app reach the server. Headers in which proxies describe the client (`X-Forwarded-*`) reach the app: the server has judged them.

    Raises `PipelineError` if a layer is wrong. The text points into the list.
    """
    return _native.stack(app, layers, base)


def main() -> None:
    """Runs the command line in `sys.argv` and exits: with 0 for success, 1 for an error at run time, 2 for a wrong file or command line."""
    sys.exit(_native.main(sys.argv))
