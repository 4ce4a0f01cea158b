def create_app(config=None):
    return lambda environ, start_response: []
