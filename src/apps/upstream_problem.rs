//! What a client gets if no upstream answers its request, for all apps over upstreams.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tokio::time::timeout;
use ziggurat_middleware::{BoxError, Deadline, Place, Problem, RequestId, RequestSummary};

use crate::upstream::{AdmitError, Protocol, SendError, Upstream, UpstreamRequest, UpstreamResponse};

/// Sends a request within the deadline of its route.
pub(super) async fn send<P: Protocol>(
    upstream: &Arc<Upstream<P>>,
    place: &Place,
    request: UpstreamRequest<'_, P>,
) -> Result<UpstreamResponse<P>, BoxError> {
    let parts = request.parts;
    let answered = match parts.extensions.get::<Deadline>() {
        Some(deadline) => match timeout(deadline.0, upstream.send(request)).await {
            Ok(answered) => answered,
            Err(_) => {
                let summary = RequestSummary::of(&parts.extensions);
                let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
                tracing::warn!(request_id, request, app = place.as_str(), "no response within the deadline of {:?}", deadline.0);
                return Err(problem(StatusCode::GATEWAY_TIMEOUT, "the upstream server did not answer in time", parts).into());
            }
        },
        None => upstream.send(request).await,
    };
    answered.map_err(|unanswered| self::unanswered(unanswered, place, parts))
}

/// The response to the client if there is none from upstream. The cause is already in the log.
fn unanswered(unanswered: SendError, place: &Place, parts: &Parts) -> BoxError {
    let overloaded = |detail| {
        let problem = problem(StatusCode::SERVICE_UNAVAILABLE, detail, parts);
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
            problem(failure.status(), detail, parts).into()
        }
        SendError::Refused(refused) => {
            let (detail, cause) = match refused {
                AdmitError::Full => ("too many requests wait for the upstream servers", "the queue is full"),
                AdmitError::Late => ("the upstream servers are busy", "the request waited too long for an endpoint"),
                AdmitError::Down => ("no upstream server is healthy", "no endpoint is healthy"),
                AdmitError::Unresolved => ("no upstream server is known", "no name of an endpoint has an address"),
            };
            tracing::warn!(request_id, request, app = place.as_str(), "the request is refused: {cause}");
            overloaded(detail).into()
        }
    }
}

/// A problem whose text has the id of the request.
pub(super) fn problem(status: StatusCode, detail: &'static str, parts: &Parts) -> Problem {
    match parts.extensions.get::<RequestId>() {
        Some(id) => Problem::new(status).detail(format!("{detail} (request {})", id.as_str())),
        None => Problem::new(status).detail(detail),
    }
}
