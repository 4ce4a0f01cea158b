NUMBER = 7


def app(environ, start_response):
    pass


def nothing(app):
    return None
