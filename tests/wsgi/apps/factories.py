"""Factories of apps and of middleware, as Paste Deploy calls them. `factories-1.0.dist-info` advertises them."""


class Site:
    """Answers with the configuration that it was made with."""

    def __init__(self, global_conf, **local_conf):
        self.text = f"{global_conf} {local_conf}"

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [self.text.encode()]


def make_app(global_conf, **local_conf):
    return Site(global_conf, **local_conf)


class Mark:
    """Adds a header to the response."""

    def __init__(self, app, global_conf, **local_conf):
        self.app = app
        self.header = ("X-Mark", f"{global_conf} {local_conf}")

    def __call__(self, environ, start_response):
        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, self.header], exc_info)

        return self.app(environ, start)


def filter_factory(global_conf, **local_conf):
    return lambda app: Mark(app, global_conf, **local_conf)


def make_map(loader, global_conf, **local_conf):
    raise AssertionError("nobody has a loader")
