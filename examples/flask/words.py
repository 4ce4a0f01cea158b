"""A word counter in Flask, made by a factory: `words:create_app()`."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator

from flask import Flask, Response, jsonify, redirect, render_template, request, session, url_for


def create_app() -> Flask:
    app = Flask(__name__)
    # Without SECRET_KEY every start signs anew, and sessions end with the process.
    app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_bytes(32)

    @app.get("/")
    def index() -> str:
        return render_template("index.html", result=session.pop("result", None), counted=session.get("counted", 0))

    @app.post("/")
    def form():
        """Counts the text of the form, or the file where one is sent; the answer waits in the session."""
        file = request.files.get("file")
        session["result"] = count(file.read() if file else request.form.get("text", "").encode())
        session["counted"] = session.get("counted", 0) + 1
        return redirect(url_for("index"), 303)

    @app.post("/api/count")
    def api():
        """Counts the request's body."""
        return jsonify(count(request.get_data()))

    @app.get("/api/ticks")
    def ticks() -> Response:
        """Server-sent events: one every `?pause=1000` milliseconds, ten in all."""
        pause = min(max(request.args.get("pause", 1000, type=int), 0), 1000) / 1000

        def events() -> Iterator[str]:
            for tick in range(1, 11):
                yield f"data: {tick}\n\n"
                time.sleep(pause)

        return Response(events(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})

    return app


def count(octets: bytes) -> dict:
    text = octets.decode(errors="replace")
    return {
        "octets": len(octets),
        "words": len(text.split()),
        "lines": text.count("\n"),
        "sha256": hashlib.sha256(octets).hexdigest(),
    }
