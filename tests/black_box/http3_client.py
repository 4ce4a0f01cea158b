"""A client of HTTP/3. Standard input has one JSON list of requests, which are sent at once over one connection:

    {"headers": [[name, value], ...], "body": [piece, ...]}

Standard output gets a list with the responses: {"status", "headers", "body"}, or {"reset": code}.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.responses = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for response in self.responses.values():
                response.setdefault("reset", event.error_code)
                response["end"].set()
        if isinstance(event, StreamReset) and event.stream_id in self.responses:
            response = self.responses[event.stream_id]
            response["reset"] = event.error_code
            response["end"].set()
        for part in self.http.handle_event(event):
            response = self.responses[part.stream_id]
            if isinstance(part, HeadersReceived):
                fields = [[name.decode(), value.decode()] for name, value in part.headers]
                response.setdefault("headers", fields)
                response.setdefault("status", int(dict(fields)[":status"]))
            if isinstance(part, DataReceived):
                response["body"] += part.data.decode()
            if part.stream_ended:
                response["end"].set()

    async def exchange(self, request):
        stream = self._quic.get_next_available_stream_id()
        response = self.responses[stream] = {"body": "", "end": asyncio.Event()}
        pieces = request.get("body", [])
        headers = [(name.encode(), value.encode()) for name, value in request["headers"]]
        self.http.send_headers(stream, headers, end_stream=not pieces)
        for number, piece in enumerate(pieces, 1):
            self.http.send_data(stream, piece.encode(), end_stream=number == len(pieces))
        self.transmit()
        await asyncio.wait_for(response["end"].wait(), 30)
        return {key: value for key, value in response.items() if key != "end"}


async def main(port):
    # What the certificate is worth is tested elsewhere.
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="site.test", verify_mode=ssl.CERT_NONE)
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        responses = await asyncio.gather(*(client.exchange(request) for request in json.load(sys.stdin)))
    json.dump(responses, sys.stdout)


asyncio.run(main(int(sys.argv[1])))
