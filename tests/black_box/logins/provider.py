"""An OpenID Connect provider for tests. It is as strict as a real one about clients, redirects, codes and PKCE; whoever sends its form is Ann."""

import base64
import hashlib
import hmac
import json
import secrets
import time
import urllib.parse


def prime():
    """A random prime of 1024 bits: by Fermat's test, which is enough for a test."""
    while True:
        candidate = secrets.randbits(1024) | 1 << 1023 | 1 << 1022 | 1
        if all(candidate % small for small in (3, 5, 7, 11, 13, 17, 19, 23)) and (candidate - 1) % E and pow(2, candidate - 1, candidate) == 1:
            return candidate


E = 65537
P, Q = prime(), prime()
N = P * Q
D = pow(E, -1, (P - 1) * (Q - 1))
CODES = {}
EXCHANGES = []


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(claims):
    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "k"}, claims))
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(text.encode()).digest()
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
    return text + "." + encoded(pow(int.from_bytes(padded, "big"), D, N).to_bytes(256, "big"))


def app(environ, start_response):
    issuer = "http://" + environ["HTTP_HOST"]
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    body = environ["wsgi.input"].read().decode()

    def answer(status, content, *headers):
        kind = "text/html" if isinstance(content, str) else "application/json"
        start_response(status, [("Content-Type", kind), ("Cache-Control", "no-store"), *headers])
        return [(content if isinstance(content, str) else json.dumps(content)).encode()]

    path = environ["PATH_INFO"]
    if path == "/.well-known/openid-configuration":
        names = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys", "end_session_endpoint": "/logout"}
        document = {name: issuer + at for name, at in names.items()}
        return answer("200 OK", {"issuer": issuer, "authorization_response_iss_parameter_supported": True, **document})
    if path == "/keys":
        key = {"kty": "RSA", "kid": "k", "use": "sig", "alg": "RS256", "n": encoded(N.to_bytes(256, "big")), "e": "AQAB"}
        return answer("200 OK", {"keys": [key]})
    if path == "/authorize":
        back = urllib.parse.urlsplit(query.get("redirect_uri", ""))
        # Any port of this machine (RFC 8252 section 7.3).
        is_registered = (back.scheme, back.hostname, back.path) == ("http", "127.0.0.1", "/oidc/callback")
        wanted = {"client_id": "wiki", "response_type": "code", "code_challenge_method": "S256"}
        if not is_registered or any(query.get(name) != value for name, value in wanted.items()) or "openid" not in query["scope"].split():
            return answer("400 Bad Request", "no such client")
        if environ["REQUEST_METHOD"] != "POST" and "idp=ann" not in environ.get("HTTP_COOKIE", ""):
            return answer("200 OK", "<form method=post><input name=user value=ann></form><script>document.forms[0].submit()</script>")
        code = secrets.token_urlsafe()
        CODES[code] = (query["redirect_uri"], query["code_challenge"], query["nonce"], time.time() + 60)
        more = urllib.parse.urlencode({"code": code, "state": query["state"], "iss": issuer})
        cookie = ("Set-Cookie", "idp=ann; Path=/; HttpOnly; SameSite=Lax")
        return answer("302 Found", "", ("Location", query["redirect_uri"] + "?" + more), cookie)
    if path == "/token":
        form = dict(urllib.parse.parse_qsl(body))
        client = "Basic " + base64.b64encode(b"wiki:s3cr3t%26").decode()
        if not hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", ""), client):
            return answer("401 Unauthorized", {"error": "invalid_client"})
        redirect_uri, challenge, nonce, until = CODES.pop(form.get("code"), (None, None, None, 0))
        is_proof = challenge == encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if redirect_uri != form.get("redirect_uri") or not is_proof or time.time() > until:
            return answer("400 Bad Request", {"error": "invalid_grant"})
        EXCHANGES.append(1)
        now = int(time.time())
        claims = {"iss": issuer, "aud": "wiki", "sub": "7", "iat": now, "exp": now + 60, "nonce": nonce}
        claims |= {"email": "ann@example.com", "email_verified": True, "groups": ["wiki", "staff"]}
        return answer("200 OK", {"id_token": signed(claims), "access_token": "unused", "token_type": "Bearer"})
    if path == "/logout":
        gone = ("Set-Cookie", "idp=; Path=/; Max-Age=0")
        return answer("302 Found", "", ("Location", query["post_logout_redirect_uri"]), gone)
    return answer("404 Not Found", str(len(EXCHANGES)))
