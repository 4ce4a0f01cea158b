"""What a program that checks its types may write."""

from pathlib import Path
from wsgiref.types import WSGIApplication

import ziggurat


def application(app: WSGIApplication) -> WSGIApplication:
    layers: list[ziggurat.Layer] = ["request_id", {"static": {"at": "/static", "root": Path("static")}}]
    return ziggurat.stack(app, layers, base=Path("/srv"))


def site() -> ziggurat.Stack:
    try:
        return ziggurat.load("pipeline.json", environ={"PORT": "8000"})
    except ziggurat.PipelineError as error:
        lines: list[int | None] = [finding["line"] for finding in error.findings]
        raise SystemExit(f"{error}: {lines}") from error


ziggurat.stack(site(), ({"compress": {"level": 6}},))
ziggurat.load(1)  # type: ignore[arg-type]
ziggurat.stack(site(), [1])  # type: ignore[list-item]
