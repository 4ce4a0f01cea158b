"""A to-do list in web.py over SQLite: `todo:application`."""

import os
from pathlib import Path

import web

HERE = Path(__file__).parent
FILE = Path(os.environ.get("TODO_DB") or HERE / "var" / "todo.sqlite3")
FILE.parent.mkdir(parents=True, exist_ok=True)

urls = ("/", "Index", "/done/([0-9]+)", "Done", "/export", "Export")

web.config.debug = False
db = web.database(dbn="sqlite", db=str(FILE))
db.printing = False
db.query("CREATE TABLE IF NOT EXISTS todo (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)")
render = web.template.render(str(HERE / "templates"), base="base")


class Index:
    """The list, and the form that adds to it."""

    def GET(self):
        web.header("Content-Type", "text/html; charset=utf-8")
        return render.index(db.select("todo", order="done, id").list())

    def POST(self):
        title = web.input(title="").title.strip()[:200]
        if title:
            db.insert("todo", title=title)
        raise web.seeother("/")


class Done:
    def POST(self, todo: str):
        db.update("todo", where="id = $todo", vars={"todo": int(todo)}, done=1)
        raise web.seeother("/")


class Export:
    """The list as text, sent row by row."""

    def GET(self):
        web.header("Content-Type", "text/plain; charset=utf-8")
        for todo in db.select("todo", order="id").list():
            yield f"[{'x' if todo.done else ' '}] {todo.title}\n".encode()


application = web.application(urls, globals(), autoreload=False).wsgifunc()
