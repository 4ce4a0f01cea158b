"""System checks that compare the settings with the pipeline file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.http.request import validate_host

from .pipeline import Pipeline, Unreadable, Chain, find, read, replaced

#: Headers that the server drops unless a `forwarded` layer has judged their sender.
_FORWARDED = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_X_REAL_IP")

#: What to say where a layer and a middleware that it replaces do the same.
_DUPLICATES = {
    "compress": ("W009", "what Python has compressed passes the layer as it is"),
    "static": ("W010", "it looks for files that the layer has not found"),
    "cors": ("W011", "the layer replaces the headers that it sends"),
}


def check_pipeline(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Returns the contradictions between the settings and the project's pipeline file, if there is one."""
    file = find()
    if file is None:
        return []
    try:
        pipeline, twins = read(file), replaced()
    except Unreadable as refusal:
        return [_warning("W001", f"The pipeline file cannot be used:\n{refusal}", "`ziggurat check` shows the same.")]
    site = _chains_of_site(pipeline)
    if not site:
        return []
    return [*_hosts(site), *_scheme(site, pipeline.has_tls), *_slashes(site), *_static_files(pipeline), *_duplicates(site, twins)]


def _chains_of_site(pipeline: Pipeline) -> list[Chain]:
    """The chains that end at this site's app. A file may have other apps."""
    chains = [chain for chain in pipeline.chains if chain.app.kind == "wsgi"]
    module, _, attribute = (settings.WSGI_APPLICATION or "").rpartition(".")
    own = {f"{module}:{attribute}", "django.core.wsgi:get_wsgi_application()"}
    if attribute in ("application", "app"):
        own.add(module)
    to_site = [chain for chain in chains if chain.app.options["app"] in own]
    return to_site or (chains if len({chain.app.options["app"] for chain in chains}) == 1 else [])


def _hosts(site: list[Chain]) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if not settings.ALLOWED_HOSTS:
        hint = 'Set it, as in `ALLOWED_HOSTS = ["example.com"]`. A route before the app can answer probes whatever host they name.'
        yield _warning("W002", "ALLOWED_HOSTS is empty and DEBUG is off, so every request is answered 400.", hint)
        return
    hosts = sorted({host for chain in site for host in chain.hosts})
    # Any name stands for a wildcard.
    refused = [host for host in hosts if "$" not in host and not validate_host(host.replace("*", "any"), settings.ALLOWED_HOSTS)]
    if refused:
        hint = "Add them: `.example.com` stands for a name and all below it."
        yield _warning("W003", f"Routes lead requests for {_words(refused)} to the site, and ALLOWED_HOSTS refuses them.", hint)


def _scheme(site: list[Chain], has_tls: bool) -> Iterator[CheckMessage]:
    forwarded = all((layer := chain.layer("forwarded")) and (layer.options.get("trust") or layer.options.get("proxies")) for chain in site)
    header = settings.SECURE_PROXY_SSL_HEADER
    if header and not header[0].startswith(_FORWARDED):
        name = header[0].removeprefix("HTTP_").replace("_", "-").title()
        message = f"SECURE_PROXY_SSL_HEADER believes {name}, which reaches the site from every client."
        yield _warning("W005", message, "Have the proxy send X-Forwarded-Proto, trust it in a `forwarded` layer, and remove the setting.")
    elif header and forwarded:
        message = "SECURE_PROXY_SSL_HEADER is not needed: the `forwarded` layer has judged the scheme, and `wsgi.url_scheme` is right."
        yield Info(message, hint="Remove it: Django reads the first value of the header, whoever wrote that.", id="ziggurat.I001")
    elif header:
        message = "SECURE_PROXY_SSL_HEADER is set, but its header never reaches the site: no `forwarded` layer says whom to believe."
        yield _warning("W004", message, _trust())
    elif not forwarded and not has_tls and not settings.DEBUG and _is_for_https() and not _trusted_origins(site):
        message = "The site is for https and takes every request for http: forms sent from its pages fail Django's check of their origin."
        loop = " SECURE_SSL_REDIRECT redirects for ever." if settings.SECURE_SSL_REDIRECT else ""
        yield _warning("W006", message + loop, f"{_trust()} Or name the site in CSRF_TRUSTED_ORIGINS.")


def _trust() -> str:
    return 'Add `{ "forwarded": { "trust": ["10.0.0.0/8"] } }` to the layers, with the addresses of the proxy.'


def _is_for_https() -> bool:
    names = ("SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    return any(getattr(settings, name) for name in names)


def _trusted_origins(site: list[Chain]) -> bool:
    """Whether forms of https pages are accepted all the same."""
    origins = [urlsplit(origin) for origin in settings.CSRF_TRUSTED_ORIGINS]
    trusted = [origin.netloc.removeprefix("*") for origin in origins if origin.scheme == "https"]
    return bool(trusted) and all(validate_host(host, trusted) for chain in site for host in chain.hosts)


def _slashes(site: list[Chain]) -> Iterator[CheckMessage]:
    removes = any((layer := chain.layer("slash")) and layer.options["action"] == "remove" for chain in site)
    if removes and settings.APPEND_SLASH and "django.middleware.common.CommonMiddleware" in settings.MIDDLEWARE:
        message = "APPEND_SLASH redirects to addresses with a slash at their end, and the `slash` layer redirects back."
        yield _warning("W012", message, 'Write `{ "slash": "append" }` or remove the layer, or set APPEND_SLASH to False.')


def _static_files(pipeline: Pipeline) -> Iterator[CheckMessage]:
    address = urlsplit(settings.STATIC_URL or "")
    if not settings.STATIC_ROOT or not address.path or address.netloc:
        return
    at, root = address.path.rstrip("/"), os.path.realpath(settings.STATIC_ROOT)
    served = list(_served(pipeline))
    here = [found for prefix, folder in served if (found := _folder(at, prefix, folder))]
    elsewhere = [prefix or "/" for prefix, folder in served if folder == root]
    if root in here:
        return
    if here:
        message = f"STATIC_ROOT is {root}, and the pipeline serves {at}/ from {here[0]}."
        yield _warning("W007", message, "Have `root` of the `static` layer name STATIC_ROOT.")
    elif elsewhere:
        message = f"STATIC_URL is {settings.STATIC_URL}, and the pipeline serves STATIC_ROOT at {elsewhere[0]}."
        yield _warning("W007", message, "Have `at` of the `static` layer name STATIC_URL.")
    elif not settings.DEBUG and not any(name.startswith("whitenoise.") for name in settings.MIDDLEWARE):
        layer = f'{{ "static": {{ "at": "{at}", "root": "{root}", "immutable": true }} }}'
        yield _warning("W008", f"Nothing serves static files: no `static` layer is at {at}.", f"Add `{layer}` to the layers.")


def _served(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """The prefix and the folder of each `static` in the file."""
    for chain in pipeline.chains:
        for stage in (*chain.layers, chain.app):
            if stage.kind == "static" and "$" not in (root := stage.options["root"]):
                at = stage.options.get("at") or ("/" if stage is chain.app else "/static")
                yield chain.mount + at.rstrip("/"), os.path.realpath(pipeline.folder / root)


def _folder(at: str, prefix: str, folder: str) -> str | None:
    """The folder below `at`, if that is inside what is served at `prefix`."""
    if at != prefix and not at.startswith(f"{prefix}/"):
        return None
    return str(Path(folder) / at.removeprefix(prefix).lstrip("/"))


def _duplicates(site: list[Chain], replaced: dict[str, tuple[str, ...]]) -> Iterator[CheckMessage]:
    layers = {layer.kind for chain in site for layer in chain.layers}
    installed = {layer: [name for name in replaced.get(layer, ()) if name in settings.MIDDLEWARE] for layer in layers}
    for layer, (number, why) in _DUPLICATES.items():
        for middleware in installed.get(layer, []):
            yield _warning(number, f"{middleware} and the `{layer}` layer do the same: {why}.", "Remove it from MIDDLEWARE.")
    if security := installed.get("security_headers"):
        message = f"The `security_headers` layer sends what {_words(security)} would, for static files too."
        hint = "Remove them where nothing else of theirs is used, such as SECURE_SSL_REDIRECT; a header that the site sends itself stands."
        yield Info(message, hint=hint, id="ziggurat.I002")


def _warning(number: str, message: str, hint: str) -> CheckMessage:
    return Warning(message, hint=hint, id=f"ziggurat.{number}")


def _words(names: list[str]) -> str:
    return ", ".join(names)
