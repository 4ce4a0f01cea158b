"""What the pages link to: twelve files, the same each time, under the names that Django's manifest gives them. And who looks at them."""

import hashlib
import random

WORDS = "anchor bolt bracket brick cable chain clamp coil crate drill drum filter flange gear hinge hook hose jack ladder lamp latch lever mast nail pipe plank pump rail rope screw".split()
SIZES = {"reset.css": 4, "layout.css": 18, "theme.css": 30, "framework.js": 90, "table.js": 24, "forms.js": 14, "site.js": 6, "icon.svg": 1, "logo.svg": 3, "sprites.svg": 12, "map.png": 9, "photo.png": 40}
"""In KB."""


def _content(name, size):
    chance = random.Random(name)  # noqa: S311
    if name.endswith("png"):
        return b"\x89PNG\r\n\x1a\n" + chance.randbytes(size * 1024)
    lines = (f".{chance.choice(WORDS)}-{chance.choice(WORDS)} {{ {chance.choice(WORDS)}: {chance.randrange(10**6)}; }}\n" for _ in range(size * 30))
    return "".join(lines).encode()


ASSETS = {name: _content(name, size) for name, size in SIZES.items()}


def target(name):
    """The path of a file, with the hash of its content in its name."""
    stem, suffix = name.split(".")
    return f"/static/{stem}.{hashlib.md5(ASSETS[name], usedforsecurity=False).hexdigest()[:12]}.{suffix}"


REPORT = "<!doctype html><title>Stock</title><table>{}</table>".format("".join(
    f'<tr class="item {"even" if n % 2 else "odd"}"><td><a href="/items/D{n * 7919 % 9973:04}/">D{n * 7919 % 9973:04}</a></td>'
    f"<td>{WORDS[n * 17 % 30]} {WORDS[n * 29 % 30]}</td><td>{n * 104729 % 1299709}</td><td>{n * 31 % 97} pieces</td><td>{n * 7 % 1000 / 10:.2f}</td></tr>\n" for n in range(240)
)).encode()
"""About 30 KB of HTML."""

SESSION = "depotbenchdepotbenchdepotbench00"
"""The session of a user who is signed in."""
