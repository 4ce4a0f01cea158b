"""The Django example as it stands without native layers: compression and security headers by Django's own middleware."""

from django.middleware.gzip import GZipMiddleware
from fieldnotes.settings import *  # noqa: F403

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    *MIDDLEWARE,  # noqa: F405
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# The random padding would make each answer another one; it costs nothing worth measuring.
GZipMiddleware.max_random_bytes = 0
