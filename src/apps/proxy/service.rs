//! The service of `proxy`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{EXPECT, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use tokio::time::timeout;
use tower::Service;
use ziggurat_middleware::{Body, BoxError, Deadline, Place, Problem, Request, RequestId, RequestSummary, Response};

use super::head::{self, HeadPolicy};
use super::upgrade::{self, TunnelRules};
use crate::upstream::http::Http;
use crate::upstream::{AdmitError, SendError, Upstream, UpstreamRequest, UpstreamResponse};

/// Passes requests on.
#[derive(Clone)]
pub(super) struct ProxyService(Arc<Inner>);

struct Inner {
    upstream: Arc<Upstream<Http>>,
    policy: HeadPolicy,
    tunnels: TunnelRules,
    place: Place,
}

impl ProxyService {
    pub(super) fn new(upstream: Arc<Upstream<Http>>, policy: HeadPolicy, tunnels: TunnelRules, place: Place) -> Self {
        Self(Arc::new(Inner { upstream, policy, tunnels, place }))
    }
}

impl Service<Request> for ProxyService {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A full queue is answered with 503.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.serve(request).await })
    }
}

impl Inner {
    async fn serve(&self, mut request: Request) -> Result<Response, BoxError> {
        if request.method() == Method::CONNECT {
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED).detail("CONNECT is not served here").into());
        }
        if head::goes_in_circles(request.headers()) {
            return Err(Problem::new(StatusCode::LOOP_DETECTED)
                .detail("the request is in a loop")
                .because("`Via` names this server ten times")
                .into());
        }
        let upgrade = upgrade::wanted(&mut request);
        let (parts, body) = request.into_parts();
        let offered = upgrade.as_ref().map(|(offered, _)| offered);
        let expects_continue = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let request = UpstreamRequest {
            parts: &parts,
            body,
            head: &|endpoint, has_body| self.policy.request(&parts, endpoint, has_body, offered),
            expects_continue,
        };
        let answered = match parts.extensions.get::<Deadline>() {
            Some(deadline) => match timeout(deadline.0, self.upstream.send(request)).await {
                Ok(answered) => answered,
                Err(_) => {
                    let summary = RequestSummary::of(&parts.extensions);
                    let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
                    tracing::warn!(request_id, request, app = self.place.as_str(), "no response within the deadline of {:?}", deadline.0);
                    return Err(self.problem(StatusCode::GATEWAY_TIMEOUT, "the upstream server did not answer in time", &parts).into());
                }
            },
            None => self.upstream.send(request).await,
        };
        let UpstreamResponse { response, sticky } = match answered {
            Ok(answer) => answer,
            Err(unanswered) => return Err(self.unanswered(unanswered, &parts)),
        };
        let (mut answer, body) = response.into_parts();
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some((_, client)) = upgrade else { return Err(Problem::internal("an upgrade that nobody asked for").into()) };
            return Ok(upgrade::switch(client, answer, body, self.tunnels.clone(), &self.place, &parts));
        }
        if upgrade.is_some() && parts.version == Version::HTTP_2 && answer.status.is_success() {
            // Over HTTP/2 the client would take it for the beginning of the WebSocket (RFC 8441 section 5).
            let request_id = parts.extensions.get::<RequestId>().map(RequestId::as_str);
            let status = answer.status.as_u16();
            tracing::warn!(request_id, app = self.place.as_str(), "the upstream answered a request for a WebSocket with status {status}");
            return Err(self.problem(StatusCode::BAD_GATEWAY, "the upstream server did not accept the WebSocket", &parts).into());
        }
        head::response(&mut answer.headers);
        if let Some(id) = sticky {
            self.upstream.write_sticky(id, &parts, &mut answer.headers);
        }
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        if let Some(reason) = answer.extensions.remove::<ReasonPhrase>() {
            response.extensions_mut().insert(reason);
        }
        Ok(response)
    }

    /// The response to the client if there is none from upstream. The cause is already in the log.
    fn unanswered(&self, unanswered: SendError, parts: &http::request::Parts) -> BoxError {
        let overloaded = |detail| {
            let problem = self.problem(StatusCode::SERVICE_UNAVAILABLE, detail, parts);
            problem.header(RETRY_AFTER, HeaderValue::from_static("1"))
        };
        let summary = RequestSummary::of(&parts.extensions);
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        match unanswered {
            SendError::Client(error) => error,
            SendError::Failed(failure) => {
                let detail = match failure.status() {
                    StatusCode::SERVICE_UNAVAILABLE => return overloaded("the upstream servers are busy").into(),
                    StatusCode::GATEWAY_TIMEOUT => "the upstream server did not answer in time",
                    _ => "the upstream server gave no valid response",
                };
                self.problem(failure.status(), detail, parts).into()
            }
            SendError::Refused(refused) => {
                let (detail, cause) = match refused {
                    AdmitError::Full => ("too many requests wait for the upstream servers", "the queue is full"),
                    AdmitError::Late => ("the upstream servers are busy", "the request waited too long for an endpoint"),
                    AdmitError::Down => ("no upstream server is healthy", "no endpoint is healthy"),
                    AdmitError::Unresolved => ("no upstream server is known", "no name of an endpoint has an address"),
                };
                tracing::warn!(request_id, request, app = self.place.as_str(), "the request is refused: {cause}");
                overloaded(detail).into()
            }
        }
    }

    fn problem(&self, status: StatusCode, detail: &'static str, parts: &http::request::Parts) -> Problem {
        match parts.extensions.get::<RequestId>() {
            Some(id) => Problem::new(status).detail(format!("{detail} (request {})", id.as_str())),
            None => Problem::new(status).detail(detail),
        }
    }
}
