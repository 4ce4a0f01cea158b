"""Decodes requests of OTLP with the messages of the Python SDK: each has its length before it. Prints their spans as JSON."""

import json
import struct
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    return message


def attributes(pairs):
    return {pair.key: getattr(known(pair.value), pair.value.WhichOneof("value")) for pair in pairs}


def spans(request):
    for resource in known(request).resource_spans:
        service = attributes(known(known(resource).resource).attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in known(scope).spans:
                yield {
                    "service": service,
                    "name": known(span).name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "kind": span.kind,
                    "state": span.trace_state,
                    "flags": span.flags,
                    "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                    "status": span.status.code,
                    "attributes": attributes(span.attributes),
                }


rest = sys.stdin.buffer.read()
found = []
while rest:
    (length,) = struct.unpack(">I", rest[:4])
    request, rest = rest[4 : 4 + length], rest[4 + length :]
    found.extend(spans(ExportTraceServiceRequest.FromString(request)))
json.dump(found, sys.stdout)
