"""The peer: the same Python layers over the same app under waitress, without Ziggurat. Standard input says which: a JSON object of stacks by
name; the header `X-Stack` of a request names one. Prints its port."""

import functools
import importlib
import json
import sys

import waitress

STACKS = json.loads(sys.stdin.readline())


def named(target):
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def stack(name):
    app = named("real:app")
    for layer in reversed(STACKS[name]):
        options = layer if isinstance(layer, dict) else {"middleware": layer}
        app = named(options["middleware"])(app, *options.get("args", []), **options.get("kwargs", {}))
    return app


def dispatch(environ, start_response):
    return stack(environ.pop("HTTP_X_STACK"))(environ, start_response)


server = waitress.create_server(dispatch, host="127.0.0.1", port=0, threads=1, clear_untrusted_proxy_headers=False)
print(server.effective_port, flush=True)
server.run()
