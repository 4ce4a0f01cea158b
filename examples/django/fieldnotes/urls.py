"""Which path shows what."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path


def icon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for this name on pages that name no icon: the admin's, and JSON."""
    return redirect(static("notes/tower.svg"))


urlpatterns = [
    path("", include("notes.urls")),
    path("favicon.ico", icon),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
