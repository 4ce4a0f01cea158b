"""A shop with two checkouts: it asks the server which one is on."""

import os
from urllib.request import urlopen

FLAG = os.environ.get("FLAGS", "http://127.0.0.1:8000/flags") + "/new_checkout"


def app(environ, start_response):
    with urlopen(FLAG, timeout=2) as answer:
        new = answer.read().strip() == b"true"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"the new checkout\n" if new else b"the old checkout\n"]
