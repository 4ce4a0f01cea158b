//! The service of `proxy`: one request, one answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{EXPECT, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use hyper::ext::ReasonPhrase;
use tokio::time::timeout;
use tower::Service;
use ziggurat_middleware::{Body, BoxError, Deadline, Place, Problem, Request, RequestId, Response, Retired};

use super::head::{self, HeadPolicy};
use super::upgrade::{self, Upgrade};
use crate::upstream::http::Http;
use crate::upstream::{Answer, Outgoing, Refused, Unanswered, Upstream};

/// Passes requests on.
#[derive(Clone)]
pub(super) struct ProxyService(Arc<Inner>);

struct Inner {
    upstream: Arc<Upstream<Http>>,
    policy: HeadPolicy,
    idle: Duration,
    place: Place,
    retired: Retired,
}

impl ProxyService {
    pub(super) fn new(upstream: Arc<Upstream<Http>>, policy: HeadPolicy, idle: Duration, place: Place, retired: Retired) -> Self {
        Self(Arc::new(Inner { upstream, policy, idle, place, retired }))
    }
}

impl Service<Request> for ProxyService {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A full queue is answered, not waited for.
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
                .detail("the request goes in circles")
                .because("`Via` names this server ten times")
                .into());
        }
        let upgrade = Upgrade::wanted(&mut request);
        let (parts, body) = request.into_parts();
        let protocol = upgrade.as_ref().map(Upgrade::protocol);
        let expects_continue = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let outgoing = Outgoing {
            parts: &parts,
            body,
            head: &|endpoint, has_body| self.policy.request(&parts, endpoint, has_body, protocol),
            expects_continue,
        };
        let answered = match parts.extensions.get::<Deadline>() {
            Some(deadline) => match timeout(deadline.0, self.upstream.send(outgoing)).await {
                Ok(answered) => answered,
                Err(_) => {
                    return Err(self
                        .problem(StatusCode::GATEWAY_TIMEOUT, "the server behind this one did not answer in time", &parts)
                        .into());
                }
            },
            None => self.upstream.send(outgoing).await,
        };
        let Answer { response, sticky } = match answered {
            Ok(answer) => answer,
            Err(unanswered) => return Err(self.unanswered(unanswered, &parts)),
        };
        let (mut answer, body) = response.into_parts();
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade else { return Err(Problem::internal("an upgrade that nobody asked for").into()) };
            return Ok(upgrade::switch(upgrade, answer, body, self.idle, &self.place, self.retired.clone(), &parts));
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

    /// What the client is told where there is no answer. The cause is in the log already.
    fn unanswered(&self, unanswered: Unanswered, parts: &http::request::Parts) -> BoxError {
        let overloaded = |detail| {
            let problem = self.problem(StatusCode::SERVICE_UNAVAILABLE, detail, parts);
            problem.header(RETRY_AFTER, HeaderValue::from_static("1"))
        };
        let request_id = parts.extensions.get::<RequestId>().map(RequestId::as_str);
        match unanswered {
            Unanswered::Client(error) => error,
            Unanswered::Failed(failure) => {
                let detail = match failure.status() {
                    StatusCode::GATEWAY_TIMEOUT => "the server behind this one did not answer in time",
                    _ => "the server behind this one gave no proper answer",
                };
                self.problem(failure.status(), detail, parts).into()
            }
            Unanswered::Refused(refused) => {
                let (detail, cause) = match refused {
                    Refused::Full => ("too many requests wait for the servers behind this one", "the queue is full"),
                    Refused::Late => ("the servers behind this one are busy", "the request waited too long for an endpoint"),
                    Refused::Down => ("no server behind this one is well", "no endpoint is well"),
                    Refused::Unresolved => ("no server behind this one is known", "no name of an endpoint has an address"),
                };
                tracing::warn!(request_id, app = self.place.as_str(), "the request is refused: {cause}");
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
