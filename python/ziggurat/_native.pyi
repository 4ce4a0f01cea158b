"""The program as a Python extension."""

from collections.abc import Sequence

__version__: str

class DeadlineExceeded(BaseException):
    """Raised in the middle of an app whose request is over its deadline."""

def main(arguments: Sequence[str]) -> int:
    """Runs a command line, whose first word is the program's name, and gives the exit code."""
