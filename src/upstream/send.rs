//! Sends a request: attempts until one succeeds or no further one is allowed.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep};
use ziggurat_middleware::timing::AppPart;
use ziggurat_middleware::{Body, BoxError, ConnectionInfo, Place, RequestSummary, Scheme};

use super::Upstream;
use super::admit::{AdmitError, EndpointPermit, Preference};
use super::download::Download;
use super::endpoint::Endpoint;
use super::failure::{Failure, FailureKind, FailurePhase};
use super::pool::Lease;
use super::protocol::{Connection, Protocol};
use super::replay::{ReplayBody, Upload};
use super::retry::{Attempts, RetryDecision, buffer};
use super::span::AttemptSpan;

/// A request to an upstream.
pub(crate) struct UpstreamRequest<'a, P: Protocol> {
    /// The request of the client.
    pub(crate) parts: &'a Parts,
    pub(crate) body: Body,
    /// Makes the head for an endpoint. The flag tells whether there is a body.
    pub(crate) head: &'a (dyn Fn(&Endpoint<P>, bool) -> Request<()> + Send + Sync),
    /// Whether the body waits for `100 Continue`.
    pub(crate) expects_continue: bool,
}

/// The response of an upstream.
pub(crate) struct UpstreamResponse<P: Protocol> {
    pub(crate) response: Response<Download<P>>,
    /// The value of the sticky cookie, if the response has to set it.
    pub(crate) sticky: Option<u64>,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No endpoint takes the request.
    Refused(AdmitError),
    /// The last attempt failed.
    Failed(Failure),
    /// The body of the request ended before its end.
    Client(BoxError),
}

impl<P: Protocol> Upstream<P> {
    /// Sends a request. Failed attempts are in the log.
    pub(crate) async fn send(self: &Arc<Self>, request: UpstreamRequest<'_, P>) -> Result<UpstreamResponse<P>, SendError> {
        let UpstreamRequest { parts, body, head, expects_continue } = request;
        let retry = self.settings.retry.as_ref();
        let body = ReplayBody::new(body, buffer(retry));
        let mut attempts = Attempts::new(retry, &self.state.budget, parts.method.is_idempotent());
        let sticky = self.settings.sticky.as_ref().and_then(|options| options.read(&parts.headers));
        let mut preference = Preference { key: self.settings.balance.key(parts), sticky, ..Preference::default() };
        let mut last: Option<UpstreamResponse<P>> = None;
        let clock = RequestSummary::of(&parts.extensions).and_then(RequestSummary::clock);
        loop {
            let queued = clock.map(|clock| clock.measure(AppPart::Queue));
            let permit = match self.admit(&preference).await {
                Ok(permit) => permit,
                Err(refused) => return last.ok_or(SendError::Refused(refused)),
            };
            drop(queued);
            let id = permit.endpoint().state.id;
            let number = attempts.number();
            let upload = if body.is_empty() { Upload::empty() } else { body.upload() };
            if expects_continue {
                upload.progress().hold();
            }
            let has_body = !body.is_empty();
            let mut request = head(permit.endpoint(), has_body);
            let mut span = AttemptSpan::begin(&self.place, permit.endpoint(), parts, number);
            if let Some(value) = span.traceparent() {
                P::set_traceparent(&mut request, value);
            }
            let request = request.map(|()| upload);
            let attempted = clock.map(|clock| clock.measure(AppPart::Upstream));
            let answered = self.attempt(permit, request, preference.again.is_some(), parts).await;
            drop(attempted);
            let next = match answered {
                Ok((mut answer, permit)) => {
                    span.answered(answer.response.status());
                    answer.sticky = self.settings.sticky.as_ref().and_then(|_| self.new_sticky(&preference, id));
                    let next = attempts.after_status(answer.response.status(), body.can_be_sent_again());
                    if next == RetryDecision::Stop {
                        let is_tunnel = answer.response.status() == StatusCode::SWITCHING_PROTOCOLS;
                        answer.response.body_mut().hold(Some(permit), is_tunnel);
                        return Ok(answer);
                    }
                    let cause = format_args!("status {}", answer.response.status().as_u16());
                    log(&self.place, permit.endpoint(), parts, number, FailurePhase::Head, &cause, true);
                    answer.response.body_mut().hold(None, false);
                    last = Some(answer);
                    next
                }
                Err((failure, mut permit)) => {
                    span.failed(failure.kind);
                    if let Some(error) = body.take_failure() {
                        return Err(SendError::Client(error));
                    }
                    permit.failed(&failure);
                    let next = attempts.after(&failure, body.can_be_sent_again());
                    let cause = format_args!("{}: {failure}", failure.kind.as_str());
                    log(
                        &self.place,
                        permit.endpoint(),
                        parts,
                        number,
                        failure.phase,
                        &cause,
                        failure.kind.is_held_against_endpoint() || next == RetryDecision::Stop,
                    );
                    if next == RetryDecision::Stop {
                        return last.ok_or(SendError::Failed(failure));
                    }
                    next
                }
            };
            preference.again = (next == RetryDecision::Again).then_some(id);
            if next == RetryDecision::Elsewhere {
                if preference.tried.contains(&id) {
                    // All endpoints have failed: a new round begins.
                    preference.tried.clear();
                }
                preference.tried.push(id);
                // The client moves to the endpoint that answers.
                preference.sticky = preference.sticky.filter(|sticky| *sticky != id);
                if let Some(pause) = attempts.pause() {
                    sleep(pause).await;
                }
            }
        }
    }

    /// Sends the request once.
    async fn attempt(
        self: &Arc<Self>,
        mut permit: EndpointPermit<P>,
        request: Request<Upload>,
        fresh: bool,
        parts: &Parts,
    ) -> Result<(UpstreamResponse<P>, EndpointPermit<P>), (Failure, EndpointPermit<P>)> {
        let started = Instant::now();
        let pool = &permit.endpoint().pool;
        let preface = pool.preface(parts);
        let checkout = match &preface {
            Some(preface) => pool.checkout_exclusive(Some(preface)).await,
            None => pool.checkout(fresh).await,
        };
        let mut lease = match checkout {
            Ok(lease) => lease,
            Err(failure) => return Err((failure, permit)),
        };
        if let Some(connection) = lease.connection()
            && !connection.takes(&request).await
        {
            lease = match permit.endpoint().pool.checkout_exclusive(None).await {
                Ok(lease) => lease,
                Err(failure) => return Err((failure, permit)),
            };
        }
        match self.exchange(&mut lease, request).await {
            Ok(response) => {
                permit.endpoint().state.counters.latency.observe(started.elapsed());
                permit.answered(response.status());
                let summary = RequestSummary::of(&parts.extensions).cloned();
                let response = response.map(|body| Download::new(body, lease, self.settings.idle, &self.place, summary));
                Ok((UpstreamResponse { response, sticky: None }, permit))
            }
            Err(failure) => Err((failure, permit)),
        }
    }

    async fn exchange(
        &self,
        lease: &mut Lease<P>,
        request: Request<Upload>,
    ) -> Result<Response<<P::Connection as Connection>::Body>, Failure> {
        let is_reused = lease.is_reused();
        let Some(connection) = lease.connection() else { return Err(Failure::unreachable("the connection is gone")) };
        let progress = Arc::clone(request.body().progress());
        let time = self.settings.head;
        let late = || Failure::new(FailureKind::Timeout, FailurePhase::Head, format!("no head of an answer within {time:?}"));
        progress.in_time(connection.exchange(request, is_reused), time).await.unwrap_or_else(|| Err(late()))
    }

    /// Sets the sticky cookie.
    pub(crate) fn write_sticky(&self, id: u64, parts: &Parts, headers: &mut http::HeaderMap) {
        let is_secure = parts.extensions.get::<ConnectionInfo>().is_some_and(|connection| connection.scheme == Scheme::Https);
        if let Some(sticky) = &self.settings.sticky {
            sticky.write(id, is_secure, headers);
        }
    }
}

/// Logs a failed attempt.
fn log<P: Protocol>(
    place: &Place,
    endpoint: &Endpoint<P>,
    parts: &Parts,
    attempt: u32,
    phase: FailurePhase,
    cause: &dyn std::fmt::Display,
    is_warning: bool,
) {
    let summary = RequestSummary::of(&parts.extensions);
    let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
    let (upstream, phase) = (&*endpoint.label, phase.as_str());
    if is_warning {
        tracing::warn!(request_id, request, app = place.as_str(), upstream, attempt, phase, "{cause}");
    } else {
        tracing::debug!(request_id, request, app = place.as_str(), upstream, attempt, phase, "{cause}");
    }
}
