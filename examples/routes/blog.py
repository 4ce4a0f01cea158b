"""A blog of one post, chosen by its host name."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"Build upwards. (the blog at {environ['HTTP_HOST']}{environ['PATH_INFO']})\n".encode()]
