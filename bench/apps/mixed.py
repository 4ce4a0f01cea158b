"""`/slow` waits 10 ms, any other path answers at once."""

import hello
import sleep


def app(environ, start_response):
    chosen = sleep if environ["PATH_INFO"] == "/slow" else hello
    return chosen.app(environ, start_response)
