//! The span of a request: from the head to the last octet of the response.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::uri::Authority;
use http::{Method, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use ziggurat_middleware::trace::{OpenSpan, Recorder, SpanKind, TakenRoute, Trace, TraceContext, TraceState, known_method};
use ziggurat_middleware::{Body, BoxError, ConnectionInfo, OriginalUri, Request, RequestSummary, Response};

/// A span under way. It is recorded when it is dropped, however the request ended.
pub(super) struct RequestSpan {
    span: OpenSpan,
    summary: Option<RequestSummary>,
    route: Option<TakenRoute>,
    /// Who sent it, as the connection is.
    peer: Option<IpAddr>,
    is_head: bool,
    /// Whether the whole response has been handed over.
    is_complete: bool,
}

impl RequestSpan {
    pub(super) fn begin(
        request: &Request,
        context: TraceContext,
        parent: Option<TraceContext>,
        state: Option<TraceState>,
        recorder: Recorder,
    ) -> Box<Self> {
        let method = known_method(request.method());
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let mut span = OpenSpan::new(name, SpanKind::Server, context, parent.map(|parent| parent.span_id()), recorder);
        span.span().state = state;
        span.span().is_parent_remote = parent.is_some();
        span.text("http.request.method", method);
        if method == "_OTHER" {
            span.text("http.request.method_original", request.method().to_string());
        }
        let facts = request.extensions();
        // Not the query, which may hold secrets.
        span.text("url.path", OriginalUri::of(request.uri(), facts).path().to_owned());
        if let Some(host) = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok()) {
            span.text("server.address", host.host().to_owned());
            if let Some(port) = host.port_u16() {
                span.number("server.port", port);
            }
        }
        span.text("network.protocol.version", version(request.version()));
        if let Some(agent) = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            span.text("user_agent.original", agent.to_owned());
        }
        let summary = RequestSummary::of(facts).cloned();
        let route = Trace::of(facts).and_then(Trace::route).cloned();
        let connection = facts.get::<ConnectionInfo>();
        if let Some(connection) = connection {
            span.text("url.scheme", connection.scheme.as_str());
        }
        let peer = connection.and_then(|connection| connection.client);
        if let Some(peer) = peer {
            span.text("network.peer.address", peer.to_string());
        }
        Box::new(Self { span, summary, route, peer, is_head: request.method() == Method::HEAD, is_complete: false })
    }

    /// Takes what the head says. The span ends with the body.
    pub(super) fn respond(mut self: Box<Self>, response: Response) -> Response {
        let status = response.status();
        self.span.respond(status);
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u32>().ok());
        if let Some(length) = length {
            self.span.number("http.response.body.size", length);
        }
        // Of these responses, the server reads no body. The body of a 101 is kept until the upgraded connection ends.
        let is_bodiless =
            self.is_head || matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // The server takes a small body in memory at once, so its end needs no watching.
        let is_full = response.body().as_frame().is_some();
        self.is_complete = is_bodiless || is_full || response.body().is_end_stream();
        if is_full {
            return response;
        }
        let length = length.map(u64::from);
        response.map(|body| Body::new(TracedBody { length: length.or_else(|| body.size_hint().exact()), sent: 0, inner: body, span: self }))
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        // A `forwarded` layer below knows better.
        if let Some(client) = self.summary.as_ref().and_then(RequestSummary::client).or(self.peer) {
            self.span.text("client.address", client.to_string());
        }
        if let Some(pattern) = self.route.as_ref().and_then(TakenRoute::pattern) {
            let span = self.span.span();
            span.name = format!("{} {pattern}", span.name).into();
            self.span.text("http.route", pattern);
        }
        if let Some(summary) = &self.summary {
            if let Some(id) = summary.id() {
                self.span.text("ziggurat.request_id", id.to_owned());
            }
            if let Some(place) = summary.answered_by() {
                self.span.text("ziggurat.place", place.as_str().to_owned());
            }
        }
        if !self.is_complete && !self.span.span().is_error {
            self.span.fail("client_closed");
        }
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// A body with the span that ends when the server drops it.
struct TracedBody {
    inner: Body,
    /// The length, if it is known: the server reads no further.
    length: Option<u64>,
    sent: u64,
    span: Box<RequestSpan>,
}

impl HttpBody for TracedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.span.is_complete = this.inner.is_end_stream() || this.length == Some(this.sent);
            }
            Poll::Ready(None) => this.span.is_complete = true,
            Poll::Ready(Some(Err(_))) => {
                this.span.is_complete = false;
                this.span.span.fail("body");
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
