"""The site's data, the same each time: tables, a signed-in user, twelve assets. Run with `python -m depot.prepare`."""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

from .assets import ASSETS, SESSION, WORDS


def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "depot.settings"
    var = Path(os.environ["DEPOT_VAR"])
    var.mkdir(parents=True, exist_ok=True)
    write_assets(var / "assets")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    add_items()
    sign_in()


def write_assets(folder):
    folder.mkdir(exist_ok=True)
    for name, content in ASSETS.items():
        # An unchanged file keeps its age, so that nothing is collected and compressed again.
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


def add_items():
    from .models import Item, Supplier

    if Item.objects.exists():
        return
    chance = random.Random(7)  # noqa: S311
    suppliers = [Supplier.objects.create(name=f"{word.title()} & {chance.choice(WORDS).title()}", country=f"Land {n}") for n, word in enumerate(WORDS[:8])]
    begin = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
    for n in range(300):
        Item.objects.create(
            code=f"D{n:04}", name=f"{chance.choice(WORDS)} {chance.choice(WORDS)}", supplier=chance.choice(suppliers), shelf=f"{chance.choice('ABCDEF')}{n % 40:02}",
            stock=chance.randrange(3000), price=chance.randrange(100, 90000) / 100, counted=begin + timedelta(hours=7 * n), note=" ".join(chance.choices(WORDS, k=20)),
        )


def sign_in():
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session

    user, _ = get_user_model().objects.get_or_create(username="ann", defaults={"first_name": "Ann", "last_name": "Keeper", "last_login": datetime(2026, 11, 2, 9, 0, tzinfo=UTC)})
    held = {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend", HASH_SESSION_KEY: user.get_session_auth_hash()}
    Session.objects.update_or_create(session_key=SESSION, defaults={"session_data": SessionStore().encode(held), "expire_date": datetime(2099, 1, 1, tzinfo=UTC)})


if __name__ == "__main__":
    main()
