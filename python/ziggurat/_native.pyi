"""The program as a Python extension."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, final, type_check_only
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["DeadlineExceeded", "PipelineError", "Stack", "__version__", "load", "main", "stack"]

__version__: str

class DeadlineExceeded(BaseException):
    """Raised in the middle of an app whose request is over its deadline."""

class PipelineError(ValueError):
    """Something is wrong with a pipeline. Its text is what `ziggurat check` prints, with the place of each mistake."""

    findings: list[_Finding]
    """What is wrong, as `ziggurat check --json` lists it."""

@type_check_only
class _Position(TypedDict):
    line: int
    column: int

@type_check_only
class _Finding(TypedDict):
    """Lines and columns are counted from 1, columns in characters. What does not apply is `None`."""

    severity: str
    message: str
    file: str
    line: int | None
    column: int | None
    end: _Position | None
    label: str | None
    hint: str | None
    note: str | None

@final
class Stack:
    """A stack of layers over an app, as a WSGI application. Any number of threads may call it, in any number of forked processes."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]: ...

def main(arguments: Sequence[str], /) -> int:
    """Runs a command line, whose first word is the program's name, and gives the exit code."""

def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None, /) -> Stack:
    """The stack of a pipeline file."""

def stack(app: WSGIApplication, layers: Iterable[str | Mapping[str, Any]], base: str | os.PathLike[str] | None, /) -> Stack:
    """A WSGI app under a list of layers."""
