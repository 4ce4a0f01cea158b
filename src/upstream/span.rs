//! The span of one attempt at an endpoint: until the head of its response, or its failure.

use http::request::Parts;
use http::{HeaderValue, StatusCode};
use ziggurat_middleware::Place;
use ziggurat_middleware::trace::{OpenSpan, SpanKind, Trace, known_method};

use super::endpoint::Endpoint;
use super::failure::FailureKind;
use super::protocol::Protocol;
use super::target::Host;

/// A span that ends when it is dropped; nothing if the request is not recorded.
pub(super) struct AttemptSpan(Option<OpenSpan>);

impl AttemptSpan {
    /// Begins the span of an attempt; the first one has number 1.
    pub(super) fn begin<P: Protocol>(place: &Place, endpoint: &Endpoint<P>, parts: &Parts, number: u32) -> Self {
        let method = known_method(&parts.method);
        let span =
            Trace::of(&parts.extensions).and_then(|trace| trace.child(if method == "_OTHER" { "HTTP" } else { method }, SpanKind::Client));
        Self(span.map(|mut span| {
            span.text("http.request.method", method);
            match &endpoint.target.host {
                Host::Name(name, port) => {
                    span.text("server.address", name.to_string());
                    span.number("server.port", *port);
                }
                Host::Ip(address) => {
                    span.text("server.address", address.ip().to_string());
                    span.number("server.port", address.port());
                }
                Host::Unix(path) => span.text("server.address", path.to_string_lossy().into_owned()),
            }
            if number > 1 {
                span.number("http.request.resend_count", i64::from(number) - 1);
            }
            span.text("ziggurat.place", place.as_str().to_owned());
            span
        }))
    }

    /// What the upstream is told.
    pub(super) fn traceparent(&self) -> Option<HeaderValue> {
        self.0.as_ref().map(|span| span.context().header())
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(span) = &mut self.0 {
            span.respond(status);
        }
    }

    pub(super) fn failed(&mut self, kind: FailureKind) {
        if let Some(span) = &mut self.0 {
            span.fail(kind.as_str());
        }
    }
}
