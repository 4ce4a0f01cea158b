"""Settings of the site, fit for production behind Ziggurat; each variable of the environment is named where it is read.

What the pipeline file does, Django does not do again: compression, static files, request ids, `X-Content-Type-Options` and its
relatives (`SecurityMiddleware`, `XFrameOptionsMiddleware`) and the client's address and scheme behind a proxy are native layers
there. So there is no `SECURE_PROXY_SSL_HEADER`: `wsgi.url_scheme` is already right.
"""

import os
from pathlib import Path

from .environment import flag, secret_key, words

BASE_DIR = Path(__file__).resolve().parent.parent

# Everything the site writes: database, uploads, collected static files, the development key. Never served as a whole.
VAR_DIR = Path(os.environ.get("SITE_VAR") or BASE_DIR / "var")
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = flag("DEBUG")
SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key(VAR_DIR / "secret_key")
ALLOWED_HOSTS = words("ALLOWED_HOSTS", default="localhost 127.0.0.1 [::1]")
# Only for other origins that post here, and for proxies that rewrite `Host`: "https://notes.example.com".
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
# Set it where the site is reached by https: cookies are then never sent in clear text.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = flag("HTTPS_ONLY")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "notes",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

# The layer `security_headers` does what these two checks ask for.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002"]

ROOT_URLCONF = "fieldnotes.urls"
WSGI_APPLICATION = "fieldnotes.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "site.sqlite3",
        # Ziggurat's threads live long, so a connection per thread may too.
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            # Readers do not wait for the one writer, and a writer waits its turn from the start instead of failing midway.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "notes:index"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# `manage.py prepare` collects into STATIC_ROOT, and the pipeline's `static` layer serves that folder. The manifest gives every file
# a name with a hash in it, which browsers may keep for ever.
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
MEDIA_ROOT = VAR_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

# Errors go to standard error with the id that the `request_id` layer gave the request and that the access log shows.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "fieldnotes.environment.RequestIdFilter"}},
    "formatters": {"line": {"format": "{levelname} {name} [{request_id}] {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["request_id"], "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
    # Django's own handlers print to a console only while debugging and mail the administrators otherwise.
    "loggers": {"django": {"handlers": [], "level": "WARNING", "propagate": True}},
}
