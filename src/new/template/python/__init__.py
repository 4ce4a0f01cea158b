"""Ziggurat with the layer `{{layer}}`: the command `ziggurat`, or `python -m {{module}}`."""

import sys

from . import _native
from ._native import DeadlineExceeded

__all__ = ["DeadlineExceeded", "main"]


def main() -> None:
    """Runs the command line in `sys.argv` and ends the process with its exit code."""
    sys.exit(_native.main(sys.argv))
