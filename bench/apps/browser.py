"""A small page with the headers a real application sends, for a request with the headers a real browser sends."""

BODY = b"<!doctype html><title>page</title>".ljust(2048, b".")


def app(environ, start_response):
    # What nearly every application looks at.
    environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_COOKIE"], environ["HTTP_ACCEPT_LANGUAGE"]
    start_response("200 OK", [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(BODY))),
        ("Cache-Control", "private, max-age=0"),
        ("Vary", "Cookie, Accept-Language"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Set-Cookie", "csrftoken=Zz0123456789abcdefghijklmnopqrst; Path=/; SameSite=Lax"),
    ])
    return [BODY]
