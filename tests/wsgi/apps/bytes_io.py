"""What io.BytesIO makes of the reads that `plain.reads_script` runs."""

import io
import plain


def run(body, script):
    environ = {"wsgi.input": io.BytesIO(body.encode()), "HTTP_X_SCRIPT": script}
    return b"".join(plain.reads_script(environ, lambda status, headers: None)).decode()
