"""Cannot be imported."""


def inner():
    raise RuntimeError("import on purpose")


inner()
