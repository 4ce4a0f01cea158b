def layer(app):
    return app
