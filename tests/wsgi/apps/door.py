"""Lets a test look into the worker that runs the apps: a socket that evaluates what it is sent."""

import json
import os
import socketserver
import sys
import threading


class Knock(socketserver.StreamRequestHandler):
    def handle(self):
        question = json.loads(self.rfile.readline())
        names = vars(sys.modules[question["module"]])
        if "exec" in question:
            exec(question["exec"], names)
        else:
            self.wfile.write(json.dumps(eval(question["eval"], names)).encode())


def open_door():
    path = os.environ.get("TEST_DOOR")
    if path and not os.path.exists(path):
        server = socketserver.ThreadingUnixStreamServer(path, Knock)
        threading.Thread(target=server.serve_forever, daemon=True).start()
