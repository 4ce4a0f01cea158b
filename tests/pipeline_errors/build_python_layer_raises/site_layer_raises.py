def app(environ, start_response):
    pass


class Layer:
    def __init__(self, app, colour):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)


class Fails(Layer):
    def __init__(self, app):
        raise ValueError("no such luck")
