"""`manage.py prepare`: everything a start needs, as often as one likes."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth import get_user_model
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import BaseCommand

from notes.models import Attachment, Note

try:
    import brotli
except ImportError:
    brotli = None
try:
    from compression import zstd
except ImportError:
    try:
        from backports import zstd
    except ImportError:
        zstd = None

COMPRESSIBLE = {".css", ".js", ".svg", ".json", ".txt", ".html", ".map", ".xml"}
# Below this a compressed copy saves no packet.
WORTH_IT = 1024


class Command(BaseCommand):
    help = "Migrates the database, collects static files and stores compressed copies beside them; --demo adds notes and a user."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--demo", action="store_true", help="add demo notes and the user admin, for development only")

    def handle(self, *, demo: bool, **options) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        copies = precompress()
        self.stdout.write(f"database and static files are ready; {copies} compressed copies written")
        if demo:
            add_notes()
            self.add_user()

    def add_user(self) -> None:
        password = os.environ.get("DEMO_PASSWORD", "admin")
        users = get_user_model().objects
        user = users.filter(username="admin").first() or users.create_superuser("admin", "admin@example.com", password)
        if user.check_password(password):
            warning = f"sign in as admin with the password {password}; delete this user before others reach the site"
            self.stdout.write(self.style.WARNING(warning))


def precompress() -> int:
    """Stores a copy in every format at hand beside each file that pages link to; the `static` layer picks one per client."""
    written = 0
    for name in set(staticfiles_storage.hashed_files.values()):
        file = Path(staticfiles_storage.path(name))
        if file.suffix not in COMPRESSIBLE or file.stat().st_size < WORTH_IT:
            continue
        for suffix, compress in compressors().items():
            copy = file.with_name(file.name + suffix)
            if copy.exists():
                # The name holds a hash, so the copy still fits the file, which `collectstatic` wrote again; only its age tells otherwise.
                copy.touch()
            else:
                copy.write_bytes(compress(file.read_bytes()))
                written += 1
    return written


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """The formats by file ending. None without Brotli: a gzip copy alone would keep the `compress` layer from sending something better."""
    if brotli is None:
        return {}
    # One level below the best: within a few percent of it, in a third of the time.
    found = {".gz": lambda data: gzip.compress(data, mtime=0), ".br": lambda data: brotli.compress(data, quality=10)}
    if zstd is not None:
        found[".zst"] = lambda data: zstd.compress(data, level=15)
    return found


def add_notes() -> None:
    """Demo notes, unless there are notes already."""
    if Note.objects.exists():
        return
    for title, place, text in DEMO_NOTES:
        note = Note.objects.create(title=title, place=place, text=text)
    sketch = ContentFile("step 7\nstep 6\n ...\nstep 1\n".encode(), name="sketch.txt")
    Attachment(note=note, file=sketch).save()


DEMO_NOTES = [
    ("Bricks with a stamp", "Ur, north stair", "Every tenth brick names the king who had it made. Whoever lays them reads his name all day."),
    ("Rain", "Choga Zanbil", "The drains still work after three thousand years. Somebody tested them."),
    ("Seven steps", "Etemenanki", "Each step carries the next one and knows nothing of the one after. The order is the whole design."),
]
