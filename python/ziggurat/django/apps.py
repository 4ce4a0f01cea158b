"""The Django app."""

from django.apps import AppConfig


class ZigguratConfig(AppConfig):
    """Registers the system checks."""

    name = "ziggurat.django"
    label = "ziggurat"
    verbose_name = "Ziggurat"

    def ready(self) -> None:
        """Called by Django once all apps are loaded."""
        from django.core.checks import Tags, register

        from .checks import check_pipeline

        register(check_pipeline, Tags.security, "ziggurat")
