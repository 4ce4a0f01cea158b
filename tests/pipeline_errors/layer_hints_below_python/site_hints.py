def app(environ, start_response):
    pass


def layer(app):
    return app
