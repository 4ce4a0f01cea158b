"""bjoern has no command of its own: `serve_bjoern.py module:callable port`."""

import importlib
import sys

import bjoern

module, name = sys.argv[1].split(":")
bjoern.run(getattr(importlib.import_module(module), name), "127.0.0.1", int(sys.argv[2]))
