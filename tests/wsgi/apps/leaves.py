"""Leaves things to be done at the end of the process."""

import atexit
import threading
import time

atexit.register(print, "exit hook")


def app(environ, start_response):
    print("printed without a line end", end="")
    start_response("200 OK", [])
    return [b"ok"]


def stuck(environ, start_response):
    threading.Thread(target=time.sleep, args=(60,), daemon=False).start()
    return app(environ, start_response)


class Never:
    """Its answer is whole, and its close() does not end."""

    def __iter__(self):
        return iter([b"ok"])

    def close(self):
        time.sleep(60)


def never(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return Never()
