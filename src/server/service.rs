//! The service that protocols call: it turns a request of the protocol into a request of the stack, and the stack's response into one that can be
//! sent.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::Body as HttpBody;
use ziggurat_middleware::{Body, ConnectionInfo, EarlyHints, NextFuture, Problem, Request, RequestSummary, Response, TunnelIdle};

use super::alt_svc::alt_svc;
use super::generation::{CurrentGeneration, Generation};
use super::http1::HintedResponse;
use super::http2::ConnectStream;
use super::limits::Limits;
use super::normalize;
use super::progress::Progress;
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::response_body::{ResponseBody, ResponseGuard};
use super::transport::TlsSession;
use super::upgrade::{Offer, Upgraded};

/// The service of one connection.
pub(super) struct RequestService {
    current: Arc<CurrentGeneration>,
    info: ConnectionInfo,
    tls: Option<Arc<TlsSession>>,
    /// Whether responses tell of HTTP/3.
    offers_http3: bool,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
    calls: AtomicU32,
}

impl RequestService {
    pub(super) const fn new(
        current: Arc<CurrentGeneration>,
        info: ConnectionInfo,
        tls: Option<Arc<TlsSession>>,
        offers_http3: bool,
        limits: Arc<Limits>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { current, info, tls, offers_http3, limits, progress, calls: AtomicU32::new(0) }
    }

    pub(super) fn log_refusal(&self, refusal: Refusal) {
        self.log_refusal_because(refusal, refusal);
    }

    /// Logs a refusal with a cause that says more than its reason.
    pub(super) fn log_refusal_because(&self, refusal: Refusal, cause: impl fmt::Display) {
        let client = Client(&self.info);
        let sum_up = move |count: u64, latest: String, seconds: u64| {
            tracing::info!(count, "refused {count} more requests within {seconds} s, the last one from {latest}: {refusal}");
        };
        if self.progress.connection.refusals().begins(refusal.reason, || client.to_string(), sum_up) {
            tracing::info!(listener = self.info.local.map(tracing::field::display), "refused a request from {client}: {cause}");
        }
    }

    pub(super) fn log_failure(&self, reason: impl fmt::Display) {
        tracing::debug!("the connection from {} failed: {reason}", Client(&self.info));
    }

    /// Refuses a request that came over a connection for another host.
    fn check_direction(&self, parts: &Parts) -> Result<(), Refusal> {
        let is_misdirected = self.tls.as_ref().is_some_and(|tls| tls.is_misdirected(parts.headers.get(HOST)));
        if is_misdirected { Err(MISDIRECTED) } else { Ok(()) }
    }

    /// Calls the stack. `guard` is dropped after the response's body.
    pub(super) fn serve<B>(&self, request: http::Request<B>, mut guard: Box<ResponseGuard>) -> ResponseFuture
    where
        B: HttpBody<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin + Send + 'static,
    {
        let number = self.calls.fetch_add(1, Relaxed).wrapping_add(1);
        let (mut parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let version = parts.version;
        let is_malformed = !normalize::is_multiplexed(version) && self.progress.malformed.load(Relaxed) == number;
        let (offer, unsupported) = match Offer::of(&mut parts, !body.is_end_stream()) {
            Ok(offer) => (offer, None),
            Err(refusal) => (None, Some(refusal)),
        };
        // The reader of frames has noted it.
        let misframed = if version == Version::HTTP_3 { parts.extensions.remove::<Refusal>() } else { None };
        let checked = match misframed.or(unsupported) {
            Some(refusal) => Err(refusal),
            None if is_malformed => Err(MALFORMED_BODY),
            None => normalize::normalize(&mut parts, self.limits.headers).and_then(|()| self.check_direction(&parts)),
        };
        let alt_svc = if self.offers_http3 && checked.is_ok() { alt_svc(parts.headers.get(HOST)) } else { None };
        let state = match checked {
            Ok(()) => {
                let body = if body.is_end_stream() {
                    Body::empty()
                } else {
                    Body::new(RequestBody::new(body, &self.limits, Arc::clone(&self.progress), guard.received()))
                };
                let summary = RequestSummary::new(&parts.method, &parts.uri, &parts.extensions);
                if guard.takes_hints() && offer.is_none() {
                    summary.allow_early_hints();
                }
                parts.extensions.insert(summary.clone());
                // A front server has told who its client is.
                parts.extensions.get_or_insert_with(|| self.info.clone());
                if let Some(tls) = &self.tls {
                    parts.extensions.insert(tls.info.clone());
                    if let Some(user) = &tls.user {
                        parts.extensions.insert(user.clone());
                    }
                }
                self.progress.connection.count_request();
                let generation = self.current.load_full();
                let request = http::Request::from_parts(parts, body);
                let future = match offer.as_ref().and_then(|offer| offer.stream.as_ref()) {
                    Some(stream) => call_with(stream, Arc::clone(&generation), request),
                    None => generation.call(request),
                };
                guard.enter(generation, summary);
                State::Called(future)
            }
            Err(refusal) => {
                self.log_refusal(refusal);
                State::Refused(refusal)
            }
        };
        let offer = offer.map(Box::new);
        ResponseFuture { state, is_head, version, number, offer, alt_svc, idle: self.limits.keep_alive, guard: Some(guard), hints: None }
    }
}

/// Calls the stack with the connection of an extended CONNECT.
fn call_with(stream: &ConnectStream, generation: Arc<Generation>, mut request: Request) -> NextFuture {
    let on_upgrade = stream.on_upgrade();
    Box::pin(async move {
        if let Some(on_upgrade) = on_upgrade.await {
            request.extensions_mut().insert(on_upgrade);
        }
        generation.call(request).await
    })
}

fn no_websocket() -> Response {
    Problem::new(StatusCode::NOT_IMPLEMENTED).detail("there is no WebSocket here").into_response()
}

pub(super) const MISDIRECTED: Refusal =
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, "this connection was opened for another host, and its certificate is not for this one");

const MALFORMED_BODY: Refusal = Refusal::bad("the request body is malformed");

impl<B> hyper::service::Service<http::Request<B>> for RequestService
where
    B: HttpBody<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin + Send + 'static,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = HintedResponse;

    fn call(&self, request: http::Request<B>) -> HintedResponse {
        let guard = ResponseGuard::new(&self.progress, request.version() == Version::HTTP_11);
        HintedResponse::new(self.serve(request, guard), Arc::clone(&self.progress))
    }
}

/// The response to one request.
pub(super) struct ResponseFuture {
    state: State,
    is_head: bool,
    version: Version,
    number: u32,
    /// The upgrade that the request asks for.
    offer: Option<Box<Offer>>,
    /// How the client learns of HTTP/3.
    alt_svc: Option<HeaderValue>,
    /// How long an upgraded connection may be silent.
    idle: Duration,
    /// Dropped after `state`, which stands before it. Taken with the response.
    guard: Option<Box<ResponseGuard>>,
    /// What the stack has hinted at, once the response is there.
    hints: Option<EarlyHints>,
}

enum State {
    Called(NextFuture),
    Refused(Refusal),
}

impl Future for ResponseFuture {
    type Output = Result<http::Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, is_refused) = match &mut self.state {
            State::Called(future) => match ready!(future.as_mut().poll(cx)) {
                Ok(response) => (response, false),
                Err(never) => match never {},
            },
            State::Refused(refusal) => (Problem::new(refusal.status).detail(refusal.reason).into_response(), true),
        };
        // Nobody asks for a second response.
        let Some(mut guard) = self.guard.take() else { return Poll::Pending };
        self.hints = guard.summary().and_then(RequestSummary::early_hints).cloned();
        if let Some(hints) = &self.hints {
            hints.close();
        }
        let progress = guard.progress();
        progress.has_response.store(true, Relaxed);
        let response = match self.offer.take() {
            Some(offer) if offer.is_accepted_by(&response) => self.upgrade(*offer, response, guard),
            offer => {
                let is_connect = offer.as_ref().is_some_and(|offer| offer.stream.is_some());
                if offer.is_some() {
                    progress.upgrade.decline();
                }
                // To an extended CONNECT, any 2xx is the beginning of a tunnel.
                let response = if is_connect && response.status().is_success() { no_websocket() } else { response };
                self.finish(response, is_refused, &mut guard).map(|body| ResponseBody::new(body, Some(guard)))
            }
        };
        Poll::Ready(Ok(response))
    }
}

impl ResponseFuture {
    /// The fields of the next hint, which goes before the response. Asked for after each poll, so that what is hinted at until then is not lost.
    pub(super) fn poll_hint(&mut self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let summary = self.guard.as_ref().and_then(|guard| guard.summary());
        let hints = self.hints.as_ref().or_else(|| summary.and_then(RequestSummary::early_hints));
        hints.map_or(Poll::Pending, |hints| hints.poll_next(cx))
    }

    /// A response that ends with its body.
    fn finish(&mut self, mut response: Response, is_refused: bool, guard: &mut ResponseGuard) -> Response {
        normalize::finish(&mut response, self.is_head, guard.summary());
        let progress = guard.progress();
        let is_malformed = is_refused || progress.malformed.load(Relaxed) == self.number;
        if !normalize::is_multiplexed(self.version) && (is_malformed || progress.connection.is_last()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = self.alt_svc.take() {
            response.headers_mut().entry(ALT_SVC).or_insert(value);
        }
        let has_length = response.headers().contains_key(CONTENT_LENGTH) || response.body().size_hint().exact().is_some();
        progress.ends_by_closing.store(self.version == Version::HTTP_10 && !has_length, Relaxed);
        guard.respond(response.status());
        response
    }

    /// An upgrade: the request goes on until the connection or the stream ends.
    fn upgrade(&self, offer: Offer, mut response: Response, mut guard: Box<ResponseGuard>) -> http::Response<ResponseBody> {
        let idle = response.extensions().get::<TunnelIdle>().map_or(self.idle, |idle| idle.0);
        guard.respond(response.status());
        guard.count();
        match offer.stream {
            Some(stream) => {
                let body = ConnectStream::succeed(&mut response);
                let counted = guard.progress().connection.count_tunnel();
                tokio::spawn(async move {
                    let cut = guard.cut().cloned();
                    let cut = async {
                        match cut {
                            Some(cut) => cut.cancelled().await,
                            None => std::future::pending().await,
                        }
                    };
                    stream.run(idle, cut).await;
                    drop((counted, body, guard));
                });
            }
            None => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
                let progress = Arc::clone(guard.progress());
                if let Some(generation) = guard.into_generation() {
                    let body = std::mem::take(response.body_mut());
                    progress.upgrade.accept(Upgraded { _body: body, _generation: generation, idle });
                }
            }
        }
        response.map(|_| ResponseBody::new(Body::empty(), None))
    }
}

/// A client's address for the log.
pub(super) struct Client<'a>(pub(super) &'a ConnectionInfo);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.client, self.0.client_port) {
            (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).fmt(f),
            (Some(address), None) => address.fmt(f),
            _ => f.write_str("a client on a Unix socket"),
        }
    }
}

/// An error with its sources for the log.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Chain(source)))
    }
}
