"""10 KB of JSON, as an API answers."""

import json

ROWS = [{"id": n, "name": f"item {n}", "price": n * 7 % 1000 / 10, "tags": ["new", "blue"][: n % 3], "stock": n * 31 % 97} for n in range(130)]
BODY = json.dumps({"items": ROWS}).encode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]
