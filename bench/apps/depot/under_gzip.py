"""The site under Django's own compression, for any WSGI server."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "depot.with_gzip"

from .wsgi import application  # noqa: E402, F401
