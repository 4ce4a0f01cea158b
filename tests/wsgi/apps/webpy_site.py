"""A web.py site."""

import web


class Index:
    def GET(self, name):
        return f"hello, {name or 'world'}"

    def POST(self, name):
        return "posted " + web.input().a


def make():
    return web.application(("/(.*)", "Index"), {"Index": Index}, autoreload=False).wsgifunc()
