"""`python -m {{module}}`; worker processes are started by it too."""

from . import main

main()
