"""A shop that does not know where it is mounted: it builds its links from SCRIPT_NAME."""

GOODS = {"brick": 3, "reed": 1, "bitumen": 9}


def app(environ, start_response):
    root, path = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    if path in ("", "/"):
        lines = [f"{root}/{name}\n" for name in GOODS]
    elif path[1:] in GOODS:
        lines = [f"one {path[1:]} costs {GOODS[path[1:]]}\n"]
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"not in this shop\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [line.encode() for line in lines]
