"""The same site with all that can be middleware as Python middleware: what it takes where nothing native stands around it."""

import os

from django.middleware.gzip import GZipMiddleware

from .settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "corsheaders"]  # noqa: F405
MIDDLEWARE = [
    "depot.middleware.RequestIdMiddleware",
    "depot.middleware.AccessLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    *MIDDLEWARE,  # noqa: F405
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
# The random padding would make each answer another one; it costs nothing worth measuring.
GZipMiddleware.max_random_bytes = 0

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{message}", "style": "{"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": os.environ.get("ACCESS_LOG", os.devnull), "formatter": "line"}},
    "loggers": {"access": {"handlers": ["file"], "level": "INFO", "propagate": False}},
}
