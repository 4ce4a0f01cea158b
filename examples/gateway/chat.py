"""A chat room over WebSockets, with nothing but Python's standard library: a service of its own behind the gateway.

Usage: chat.py [PORT]
"""

import asyncio
import base64
import hashlib
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
LARGEST = 64 << 10

room = set()


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            path = head[0].split()[1]
            if path == "/healthz":
                answer(writer, "200 OK", b"ok\n")
            elif path == "/room" and headers.get("upgrade") == "websocket":
                key = next(line.split(": ", 1)[1] for line in head if line.lower().startswith("sec-websocket-key: "))
                await chat(reader, writer, key.encode())
                return
            else:
                answer(writer, "404 Not Found", b"the room is at /room\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


def answer(writer, status, body):
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


async def chat(reader, writer, key):
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Accept: {accept}"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    room.add(writer)
    try:
        while True:
            kind, text = await receive(reader)
            if kind == 8:  # close
                send(writer, 8, text[:2])
                return
            if kind == 9:  # ping
                send(writer, 10, text)
            elif kind == 1:  # text
                for other in room:
                    send(other, 1, text)
            await writer.drain()
    finally:
        room.discard(writer)


async def receive(reader):
    """One frame (RFC 6455 section 5.2). Messages in several frames are more than this room needs."""
    first, second = await reader.readexactly(2)
    length = second & 127
    if length > 125:
        size = 2 if length == 126 else 8
        length = int.from_bytes(await reader.readexactly(size), "big")
    if length > LARGEST:
        raise ConnectionError("the message is too large")
    mask = await reader.readexactly(4)
    text = await reader.readexactly(length)
    return first & 15, bytes(octet ^ mask[at % 4] for at, octet in enumerate(text))


def send(writer, kind, text):
    length = bytes([len(text)]) if len(text) < 126 else b"\x7e" + struct.pack(">H", len(text)) if len(text) < 1 << 16 else b"\x7f" + struct.pack(">Q", len(text))
    writer.write(bytes([128 | kind]) + length + text)


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9000))
    except KeyboardInterrupt:
        pass
