"""How the settings read the environment, and how log lines learn the request's id."""

import logging
import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def flag(name: str) -> bool:
    """Whether the variable says yes; unset means no."""
    return os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}


def words(name: str, default: str = "") -> list[str]:
    """The variable's words, set apart by spaces or commas."""
    return os.environ.get(name, default).replace(",", " ").split()


def secret_key(file: Path) -> str:
    """The key in this file, which the first run makes: sessions survive a restart without any set-up. Production sets SECRET_KEY."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text()
    with open(descriptor, "w") as new:
        new.write(get_random_secret_key())
    return file.read_text()


class RequestIdFilter(logging.Filter):
    """Gives every log record a `request_id`; `-` where it is about no request."""

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(getattr(record, "request", None), "META", {})
        record.request_id = meta.get("ziggurat.request_id", "-")
        return True
