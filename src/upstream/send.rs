//! Has a request answered: attempts, until one succeeds or no other is allowed.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep};
use ziggurat_middleware::{Body, BoxError, ConnectionInfo, Place, RequestId, Scheme};

use super::Upstream;
use super::admit::{Refused, Ticket, Want};
use super::download::Download;
use super::endpoint::Endpoint;
use super::failure::{Failure, Kind, Phase};
use super::pool::Lease;
use super::protocol::{Connection, Protocol};
use super::replay::{Replay, Upload};
use super::retry::{Attempts, Next, buffer};

/// A request on its way to an upstream.
pub(crate) struct Outgoing<'a, P: Protocol> {
    /// The request as the client sent it.
    pub(crate) parts: &'a Parts,
    pub(crate) body: Body,
    /// The head that an endpoint gets.
    pub(crate) head: &'a (dyn Fn(&Endpoint<P>, bool) -> Request<()> + Send + Sync),
    /// Whether the body waits for `100 Continue`.
    pub(crate) expects_continue: bool,
}

/// The answer of an upstream.
pub(crate) struct Answer<P: Protocol> {
    pub(crate) response: Response<Download<P>>,
    /// The cookie that names the endpoint, where the response is to set it.
    pub(crate) sticky: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// No endpoint takes the request.
    Refused(Refused),
    /// The last attempt failed.
    Failed(Failure),
    /// The body of the request ended before its end.
    Client(BoxError),
}

impl<P: Protocol> Upstream<P> {
    /// Has a request answered. What fails on the way is in the log.
    pub(crate) async fn send(self: &Arc<Self>, outgoing: Outgoing<'_, P>) -> Result<Answer<P>, Unanswered> {
        let Outgoing { parts, body, head, expects_continue } = outgoing;
        let retry = self.settings.retry.as_ref();
        let body = Replay::new(body, buffer(retry));
        let mut attempts = Attempts::new(retry, &self.memory.budget, parts.method.is_idempotent());
        let sticky = self.settings.sticky.as_ref().and_then(|sticky| sticky.read(&parts.headers));
        let mut want = Want { key: self.settings.balance.key(parts), sticky, ..Want::default() };
        let mut last: Option<Answer<P>> = None;
        loop {
            let ticket = match self.admit(&want).await {
                Ok(ticket) => ticket,
                Err(refused) => return last.ok_or(Unanswered::Refused(refused)),
            };
            let id = ticket.endpoint().state.id;
            let number = attempts.number();
            let upload = if body.is_empty() { Upload::empty() } else { body.upload() };
            if expects_continue {
                upload.pace().hold();
            }
            let has_body = !body.is_empty();
            let request = head(ticket.endpoint(), has_body).map(|()| upload);
            let next = match self.attempt(ticket, request, want.again.is_some(), parts).await {
                Ok((mut answer, ticket)) => {
                    answer.sticky = self.settings.sticky.as_ref().and((sticky != Some(id)).then_some(id));
                    let next = attempts.after_status(answer.response.status(), body.can_be_sent_again());
                    if next == Next::Stop {
                        let is_tunnel = answer.response.status() == StatusCode::SWITCHING_PROTOCOLS;
                        answer.response.body_mut().hold(Some(ticket), is_tunnel);
                        return Ok(answer);
                    }
                    let cause = format_args!("it answered {}", answer.response.status().as_u16());
                    log(&self.place, ticket.endpoint(), parts, number, Phase::Head, &cause, true);
                    answer.response.body_mut().hold(None, false);
                    last = Some(answer);
                    next
                }
                Err((failure, mut ticket)) => {
                    if let Some(error) = body.take_failure() {
                        return Err(Unanswered::Client(error));
                    }
                    ticket.failed(&failure);
                    let next = attempts.after(&failure, body.can_be_sent_again());
                    let cause = format_args!("{}: {failure}", failure.kind.as_str());
                    log(
                        &self.place,
                        ticket.endpoint(),
                        parts,
                        number,
                        failure.phase,
                        &cause,
                        failure.kind.is_held_against_endpoint() || next == Next::Stop,
                    );
                    if next == Next::Stop {
                        return last.ok_or(Unanswered::Failed(failure));
                    }
                    next
                }
            };
            want.again = (next == Next::Again).then_some(id);
            if next == Next::Elsewhere {
                if want.tried.contains(&id) {
                    // All have failed: the round begins again.
                    want.tried.clear();
                }
                want.tried.push(id);
                if let Some(pause) = attempts.pause() {
                    sleep(pause).await;
                }
            }
        }
    }

    /// Sends the request once.
    async fn attempt(
        self: &Arc<Self>,
        mut ticket: Ticket<P>,
        request: Request<Upload>,
        fresh: bool,
        parts: &Parts,
    ) -> Result<(Answer<P>, Ticket<P>), (Failure, Ticket<P>)> {
        let started = Instant::now();
        let mut lease = match ticket.endpoint().pool.checkout(fresh).await {
            Ok(lease) => lease,
            Err(failure) => return Err((failure, ticket)),
        };
        match self.exchange(&mut lease, request).await {
            Ok(response) => {
                ticket.endpoint().state.counters.latency.observe(started.elapsed());
                ticket.answered(response.status());
                let id = parts.extensions.get::<RequestId>().cloned();
                let response = response.map(|body| Download::new(body, lease, self.settings.idle, &self.place, id));
                Ok((Answer { response, sticky: None }, ticket))
            }
            Err(failure) => Err((failure, ticket)),
        }
    }

    async fn exchange(
        &self,
        lease: &mut Lease<P>,
        request: Request<Upload>,
    ) -> Result<Response<<P::Connection as Connection>::Body>, Failure> {
        let is_reused = lease.is_reused();
        let Some(connection) = lease.connection() else { return Err(Failure::unreachable("the connection is gone")) };
        let pace = Arc::clone(request.body().pace());
        let time = self.settings.head;
        let late = || Failure::new(Kind::Timeout, Phase::Head, format!("no head of an answer within {time:?}"));
        pace.in_time(connection.exchange(request, is_reused), time).await.unwrap_or_else(|| Err(late()))
    }

    /// Names the endpoint that answered in a cookie.
    pub(crate) fn write_sticky(&self, id: u64, parts: &Parts, headers: &mut http::HeaderMap) {
        let is_secure = parts.extensions.get::<ConnectionInfo>().is_some_and(|connection| connection.scheme == Scheme::Https);
        if let Some(sticky) = &self.settings.sticky {
            sticky.write(id, is_secure, headers);
        }
    }
}

/// A line for a failed attempt.
fn log<P: Protocol>(
    place: &Place,
    endpoint: &Endpoint<P>,
    parts: &Parts,
    attempt: u32,
    phase: Phase,
    cause: &dyn std::fmt::Display,
    is_warning: bool,
) {
    let request_id = parts.extensions.get::<RequestId>().map(RequestId::as_str);
    let (upstream, phase) = (&*endpoint.label, phase.as_str());
    if is_warning {
        tracing::warn!(request_id, app = place.as_str(), upstream, attempt, phase, "{cause}");
    } else {
        tracing::debug!(request_id, app = place.as_str(), upstream, attempt, phase, "{cause}");
    }
}
