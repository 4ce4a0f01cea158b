//! The service of the stack: a request as hyper gives it becomes a request as layers know it, and the answer one that the wire can bear.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use ziggurat_middleware::{Answer, Body, ConnectionInfo, Problem};

use super::generation::CurrentGeneration;
use super::limits::Limits;
use super::normalize;
use super::progress::Progress;
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::response_body::{ResponseBody, ResponseGuard};

/// One connection's way into the stack.
pub(super) struct RequestService {
    stack: Arc<CurrentGeneration>,
    connection: ConnectionInfo,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
    calls: AtomicU32,
}

impl RequestService {
    pub(super) const fn new(
        stack: Arc<CurrentGeneration>,
        connection: ConnectionInfo,
        limits: Arc<Limits>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { stack, connection, limits, progress, calls: AtomicU32::new(0) }
    }

    pub(super) fn log_refusal(&self, refusal: Refusal) {
        tracing::info!("refused a request from {}: {refusal}", Client(&self.connection));
    }

    pub(super) fn log_failure(&self, reason: impl fmt::Display) {
        tracing::debug!("the connection from {} failed: {reason}", Client(&self.connection));
    }

    /// Takes in a request. `guard` ends when its answer has been given away.
    pub(super) fn enter(&self, request: http::Request<Incoming>, mut guard: ResponseGuard) -> ResponseFuture {
        let number = self.calls.fetch_add(1, Relaxed).wrapping_add(1);
        let (mut parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let version = parts.version;
        let is_broken = version != Version::HTTP_2 && self.progress.broken.load(Relaxed) == number;
        let sound = if is_broken { Err(BROKEN) } else { normalize::normalize(&mut parts, self.limits.headers) };
        let state = match sound {
            Ok(()) => {
                let body = if body.is_end_stream() { Body::empty() } else { Body::new(RequestBody::new(body, self.limits.body_timeout)) };
                parts.extensions.insert(self.connection.clone());
                self.progress.connection.count();
                let generation = self.stack.load_full();
                let answer = generation.call(http::Request::from_parts(parts, body));
                guard.keep(generation);
                State::Inside(answer)
            }
            Err(refusal) => {
                self.log_refusal(refusal);
                State::Refused(refusal)
            }
        };
        ResponseFuture { state, is_head, version, number, guard: Some(guard), progress: Arc::clone(&self.progress) }
    }
}

const BROKEN: Refusal = Refusal::bad("the request body is malformed");

/// For the log.
struct Client<'a>(&'a ConnectionInfo);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.client, self.0.client_port) {
            (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).fmt(f),
            _ => f.write_str("a local client"),
        }
    }
}

/// An error with its causes, for the log.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Chain(source)))
    }
}

impl hyper::service::Service<http::Request<Incoming>> for RequestService {
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: http::Request<Incoming>) -> ResponseFuture {
        self.enter(request, ResponseGuard::new(&self.progress))
    }
}

/// A request inside the stack.
pub(super) struct ResponseFuture {
    state: State,
    is_head: bool,
    version: Version,
    number: u32,
    /// Ends after `state`, which stands before it.
    guard: Option<ResponseGuard>,
    progress: Arc<Progress>,
}

enum State {
    Inside(Answer),
    Refused(Refusal),
}

impl Future for ResponseFuture {
    type Output = Result<http::Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut response, is_refused) = match &mut self.state {
            State::Inside(future) => match ready!(future.as_mut().poll(cx)) {
                Ok(response) => (response, false),
                Err(never) => match never {},
            },
            State::Refused(refusal) => (Problem::new(refusal.status).detail(refusal.reason).into_response(), true),
        };
        normalize::finish(&mut response, self.is_head);
        let is_broken = is_refused || self.progress.broken.load(Relaxed) == self.number;
        if self.version != Version::HTTP_2 && (is_broken || self.progress.connection.is_last()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let has_length = response.headers().contains_key(CONTENT_LENGTH) || response.body().size_hint().exact().is_some();
        self.progress.ends_by_closing.store(self.version == Version::HTTP_10 && !has_length, Relaxed);
        let guard = self.guard.take();
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, guard))))
    }
}
