"""`python -m ziggurat`: the same as the `ziggurat` command."""

from . import main

main()
