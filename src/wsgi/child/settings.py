"""Reads the Django settings that concern the layers around a site."""

import json
import os
import sys


def read(module: str) -> str:
    """Returns the settings as JSON. They do not need `django.setup()`, so apps are not loaded."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    if not hasattr(settings, "ROOT_URLCONF"):
        raise ImproperlyConfigured(f"{module} has no ROOT_URLCONF: it is no settings module, or not all of one")
    return json.dumps(
        {
            "file": sys.modules[module].__file__,
            "debug": bool(settings.DEBUG),
            "application": settings.WSGI_APPLICATION,
            "finds_static": bool(settings.DEBUG and installed(settings) and settings.STATIC_URL),
            "static": static(settings),
            "media": media(settings),
        }
    )


def installed(settings):
    return any((app + ".").startswith("django.contrib.staticfiles.") for app in settings.INSTALLED_APPS)


def static(settings):
    if not settings.STATIC_URL or not (settings.STATIC_ROOT or installed(settings)) or not is_local(settings, "staticfiles"):
        return None
    return files(settings.STATIC_URL, settings.STATIC_ROOT)


def media(settings):
    # Django makes an empty MEDIA_URL "/", which does not mean the whole site.
    if settings.MEDIA_URL in ("", "/") or not settings.MEDIA_ROOT:
        return None
    return files(settings.MEDIA_URL, settings.MEDIA_ROOT) if is_local(settings, "default") else None


def files(url, root):
    return {"url": str(url), "root": os.path.abspath(root) if root else None}


def is_local(settings, alias):
    """Whether a storage keeps its files in a folder of this machine. The app reports one that cannot be imported."""
    from django.core.files.storage import FileSystemStorage
    from django.utils.module_loading import import_string

    try:
        backend = import_string(settings.STORAGES[alias]["BACKEND"])
    except Exception:
        return True
    return not isinstance(backend, type) or issubclass(backend, FileSystemStorage)
