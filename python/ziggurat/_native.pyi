"""The program as a Python extension module."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, final, type_check_only
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["DeadlineExceeded", "PipelineError", "Stack", "__version__", "load", "main", "stack"]

__version__: str

class DeadlineExceeded(BaseException):
    """Raised inside an app whose request is over its deadline. Not an `Exception`, so that the app does not handle it as an error of its own."""

class PipelineError(ValueError):
    """A pipeline is wrong. The text is the output of `ziggurat check`, with the place of each mistake."""

    findings: list[_Finding]
    """The findings, as in the output of `ziggurat check --json`."""

@type_check_only
class _Position(TypedDict):
    line: int
    column: int

@type_check_only
class _Finding(TypedDict):
    """Lines and columns count from 1, columns in characters. Fields that do not apply are `None`."""

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
    """A stack of layers over an app, as a WSGI application. Any number of threads may call it, also in forked processes."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]: ...

def main(arguments: Sequence[str], /) -> int:
    """Runs a command line, the program's name first, and returns its exit code."""

def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None, /) -> Stack:
    """Builds the stack of a pipeline file."""

def stack(app: WSGIApplication, layers: Iterable[str | Mapping[str, Any]], base: str | os.PathLike[str] | None, /) -> Stack:
    """Builds a stack of an app and a list of layers."""
