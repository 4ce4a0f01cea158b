"""The site with Django's own compression and no other middleware that could be native."""

from .all_python import GZipMiddleware
from .settings import *  # noqa: F403

MIDDLEWARE = [f"{GZipMiddleware.__module__}.{GZipMiddleware.__name__}", *MIDDLEWARE]  # noqa: F405
