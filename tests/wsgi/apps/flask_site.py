"""A Flask site."""

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def index():
    return "hello from flask"


@app.post("/form")
def form():
    return {"form": request.form.to_dict(), "file": request.files["upload"].read().decode()}


@app.get("/stream")
def stream():
    return Response((f"{n}\n" for n in range(100)), mimetype="text/plain")


@app.get("/trouble")
def trouble():
    raise ValueError("flask on purpose")
