"""About the least that a Python middleware does: it adds a header to the answer."""


class Stamp:
    def __init__(self, app, name):
        self.app, self.header = app, (name, "here")

    def __call__(self, environ, start_response):
        def stamped(status, headers, exc_info=None):
            return start_response(status, [*headers, self.header], exc_info)

        return self.app(environ, stamped)
