def app(environ, start_response):
    pass


def fails(colour):
    raise ValueError(f"no {colour} here")


def gives_nothing():
    return None


def gives_what_raises():
    def layer(app):
        raise ValueError("no such luck")

    return layer
