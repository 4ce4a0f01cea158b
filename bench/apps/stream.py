"""One MiB that a generator yields in 64 chunks, its length unknown beforehand."""

CHUNK = bytes(range(256)) * 64
CHUNKS = 64


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(CHUNKS):
        yield CHUNK
