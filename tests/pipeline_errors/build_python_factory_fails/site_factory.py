def make():
    raise RuntimeError("no database")
