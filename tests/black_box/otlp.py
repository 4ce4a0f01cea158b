"""Decodes requests of OTLP with the messages of the Python SDK: each has its length before it. Prints their spans or their metrics as JSON."""

import gzip
import json
import struct
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    return message


def attributes(pairs):
    return {pair.key: getattr(known(pair.value), pair.value.WhichOneof("value")) for pair in pairs}


def service(resource):
    return attributes(known(known(resource).resource).attributes)["service.name"]


def spans(request):
    for resource in known(request).resource_spans:
        for scope in resource.scope_spans:
            for span in known(scope).spans:
                yield {
                    "service": service(resource),
                    "name": known(span).name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "kind": span.kind,
                    "state": span.trace_state,
                    "flags": span.flags,
                    "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                    "status": span.status.code,
                    "message": span.status.message,
                    "attributes": attributes(span.attributes),
                }


def metrics(request):
    for resource in known(request).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in known(scope).metrics:
                kind = known(metric).WhichOneof("data")
                data = known(getattr(metric, kind))
                assert kind == "gauge" or data.aggregation_temporality == 2
                assert kind != "sum" or data.is_monotonic
                for point in data.data_points:
                    assert kind == "gauge" or 0 < known(point).start_time_unix_nano <= point.time_unix_nano
                    record = {"service": service(resource), "name": metric.name, "unit": metric.unit, "kind": kind, "attributes": attributes(point.attributes)}
                    if kind == "histogram":
                        assert sum(point.bucket_counts) == point.count and len(point.bucket_counts) == len(point.explicit_bounds) + 1
                        yield record | {"count": point.count, "sum": point.sum, "buckets": list(point.bucket_counts), "bounds": list(point.explicit_bounds)}
                    else:
                        assert point.WhichOneof("value") == "as_double"
                        yield record | {"value": point.as_double}


MESSAGES = {"traces": (ExportTraceServiceRequest, spans), "metrics": (ExportMetricsServiceRequest, metrics)}
message, records = MESSAGES[sys.argv[1]]
rest = sys.stdin.buffer.read()
found = []
while rest:
    (length,) = struct.unpack(">I", rest[:4])
    request, rest = rest[4 : 4 + length], rest[4 + length :]
    if request.startswith(b"\x1f\x8b"):
        request = gzip.decompress(request)
    found.extend(records(message.FromString(request)))
json.dump(found, sys.stdout)
