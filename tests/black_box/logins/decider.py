"""A server that `forward_auth` asks, as Authelia is one: it knows Ann by a cookie, and sends others to its page, which logs them in."""

import urllib.parse


def app(environ, start_response):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/check":
        if "known=ann" in environ.get("HTTP_COOKIE", ""):
            start_response("200 OK", [("Remote-User", "ann"), ("X-Groups", "wiki")])
            return [b""]
        if environ["HTTP_X_FORWARDED_URI"] == "/api":
            start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Cookie")])
            return [b"no cookie"]
        login = "/login?" + urllib.parse.urlencode({"back": environ["HTTP_X_FORWARDED_URI"]})
        start_response("302 Found", [("Location", login)])
        return [b"log in"]
    start_response("302 Found", [("Location", query["back"]), ("Set-Cookie", "known=ann; Path=/; HttpOnly; SameSite=Lax")])
    return [b""]
