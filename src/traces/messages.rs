//! The messages of OTLP for spans (opentelemetry-proto 1.x): `opentelemetry/proto/collector/trace/v1`.

use bytes::Bytes;
use prost::Message;
use ziggurat_middleware::trace::{AttributeValue, Span, SpanKind};

use crate::otlp::{KeyValue, Resource, SCHEMA, Scope, Value, nanoseconds, pair};

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "bytes", tag = "1")]
    trace_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    span_id: Bytes,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "bytes", tag = "4")]
    parent_span_id: Bytes,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// Whether it is known if the parent is of another program, and whether it is (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The request that exports spans of a service.
pub(super) fn encode(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: Some(Scope::own()), spans: spans.into_iter().map(span).collect() }];
    let resource_spans = ResourceSpans { resource: Some(Resource::of(service)), scope_spans, schema_url: SCHEMA.to_owned() };
    ExportRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// How many spans a collector has rejected, and why; nothing if the response says so, or cannot be understood.
pub(super) fn rejected(response: Bytes) -> Option<(u64, String)> {
    let partial = ExportResponse::decode(response).ok()?.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).ok().filter(|rejected| *rejected > 0)?;
    Some((rejected, partial.error_message))
}

fn span(span: Span) -> SpanMessage {
    let start = nanoseconds(span.start);
    // By the specification, a status of HTTP needs no message.
    let status = span.is_error.then(|| Status { message: span.failure().unwrap_or_default().to_owned(), code: ERROR });
    let remote = if span.is_parent_remote { HAS_IS_REMOTE | IS_REMOTE } else { HAS_IS_REMOTE };
    let value = |value| match value {
        AttributeValue::Text(text) => Value::Text(text.into_owned()),
        AttributeValue::Number(number) => Value::Number(number),
    };
    SpanMessage {
        trace_id: span.context.trace_id().0.get().to_be_bytes().to_vec().into(),
        span_id: span.context.span_id().get().to_be_bytes().to_vec().into(),
        trace_state: span.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        parent_span_id: span.parent.map(|parent| parent.get().to_be_bytes().to_vec().into()).unwrap_or_default(),
        name: span.name.into_owned(),
        kind: match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        start,
        end: start.saturating_add(u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX)),
        attributes: span.attributes.into_iter().map(|(key, attribute)| pair(key, value(attribute))).collect(),
        status,
        flags: remote | u32::from(span.context.is_sampled()),
    }
}
