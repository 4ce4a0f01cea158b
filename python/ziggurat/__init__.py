"""Ziggurat: an application server and a stack of native middleware for WSGI applications.

The work is done in the native module; this package gives it a command: `ziggurat`, or `python -m ziggurat`.
"""

import sys

from . import _native
from ._native import DeadlineExceeded, __version__

__all__ = ["DeadlineExceeded", "__version__", "main"]


def main() -> None:
    """Runs the command line in `sys.argv` and ends the process with its exit code: 0, 1 at run time, 2 for a bad file or bad usage."""
    sys.exit(_native.main(sys.argv))
