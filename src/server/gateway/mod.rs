//! FastCGI, SCGI and uwsgi from front servers, on one connection. The state machines of the protocols are in [`crate::gateway`].

mod cgi;
mod exchange;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HOST;
use http::request::Parts;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use ziggurat_middleware::ConnectionInfo;

pub(crate) use self::cgi::{fail_cgi, serve_cgi};
use self::exchange::{Exchange, Outcome, poll_read, write_refusal};
use super::connection_table::ConnectionGuard;
use super::generation::CurrentGeneration;
use super::http1::{self, fields};
use super::io::{Connection, Io};
use super::limits::Limits;
use super::listen::{Listen, Protocol};
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::refusal::Refusal;
use super::request_metrics::EndedRequest;
use super::service::{Chain, Client, RequestService};
use crate::gateway::front::{Event, FastCgiFront, Front, PacketFront, PacketProtocol};
use crate::gateway::{Malformed, Variables, read_request};

/// What the variables of a front server take beside the headers of its client.
const OWN_VARIABLES: usize = 8 << 10;

/// How much is read at once of variables, which are rarely longer.
const READ: usize = 4 << 10;

/// How long a front server may take to receive a refusal or the answer to a question.
const SHORT_WRITE: Duration = Duration::from_secs(5);

/// How long after it was accepted a connection may still send its first request, if the server drains.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Whether the peer of a connection is a front server of its listener. If not, the log says that the connection is closed.
pub(super) fn is_trusted(listen: &Listen, peer: &ConnectionInfo, guard: &ConnectionGuard) -> bool {
    if listen.trust.includes(peer) {
        return true;
    }
    let (listener, client) = (listen.to_string(), Client(peer));
    let on = listener.clone();
    let sum_up = move |count: u64, latest: String, seconds: u64| {
        tracing::warn!(
            listener = on.as_str(),
            count,
            "closed {count} more such connections within {seconds} s, the last one from {latest}"
        );
    };
    if guard.refusals().begins(NOT_TRUSTED, || client.to_string(), sum_up) {
        tracing::warn!(listener = listener.as_str(), "closed a connection from {client}: {NOT_TRUSTED}");
    }
    false
}

const NOT_TRUSTED: &str = "it is none of the front servers in `trust`";

/// Serves one front server until its connection ends.
pub(super) async fn serve<S: Io>(
    connection: Connection<S>,
    protocol: Protocol,
    current: Arc<CurrentGeneration>,
    limits: Arc<Limits>,
    guard: ConnectionGuard,
) {
    let Connection { stream, info, .. } = connection;
    let progress = Arc::new(Progress::new(guard));
    // The TLS of this connection is not that of the client.
    let service = RequestService::new(current, info, None, false, Arc::clone(&limits), Arc::clone(&progress));
    let most = limits.header_size.saturating_add(OWN_VARIABLES);
    let served = Served { stream, received: BytesMut::new(), service, limits, progress };
    match protocol {
        Protocol::FastCgi => {
            let connections = served.limits.connections;
            Box::pin(served.run(FastCgiFront::new(most, connections))).await;
        }
        Protocol::Scgi => Box::pin(served.run(PacketFront::new(PacketProtocol::Scgi, most))).await,
        Protocol::Uwsgi => Box::pin(served.run(PacketFront::new(PacketProtocol::Uwsgi, most))).await,
        Protocol::Http => {}
    }
}

/// A connection and what serves it.
struct Served<S> {
    stream: S,
    /// What has come and is not read yet.
    received: BytesMut,
    service: RequestService,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
}

/// Why no request begins.
enum NoRequest {
    /// The connection is over.
    Over,
    Malformed(Malformed),
    TooSlow,
}

impl<S: Io> Served<S> {
    async fn run<F: Front>(mut self, mut front: F) {
        loop {
            let (variables, length) = match self.next_request(&mut front).await {
                Ok(request) => request,
                Err(NoRequest::Over) => return http1::close(Some(self.stream), false, &self.progress).await,
                Err(NoRequest::Malformed(malformed)) => return self.refuse(&mut front, of_malformed(malformed), BytesMut::new()).await,
                Err(NoRequest::TooSlow) => return self.refuse(&mut front, TOO_SLOW, BytesMut::new()).await,
            };
            let parts = match self.head(&variables) {
                Ok(parts) => parts,
                Err((refusal, cause)) => {
                    self.service.log_refusal_because(refusal, cause);
                    return self.send_refusal(&mut front, refusal, BytesMut::new()).await;
                }
            };
            drop(variables);
            let connection = (&mut self.stream, &mut self.received);
            let (pause, progress) = (self.limits.body_timeout, &self.progress);
            let mut exchange = Exchange::begin(connection, &mut front, (parts, length), &self.service, pause, progress);
            let outcome = poll_fn(|cx| exchange.poll(cx)).await;
            let (has_response, mut out) = (exchange.has_response(), exchange.into_out());
            match outcome {
                Outcome::Complete(true) if front.goes_on() => continue,
                Outcome::Complete(is_whole) => return http1::close(Some(self.stream), !is_whole, &self.progress).await,
                Outcome::Aborted => {
                    // No body comes any more.
                    front.end(&mut out);
                    if write(&mut self.stream, &out).await && front.goes_on() {
                        continue;
                    }
                    return;
                }
                Outcome::Closed if !has_response && front.answers_behind_end() => {
                    return self.refuse(&mut front, Refusal::bad("the body is shorter than `CONTENT_LENGTH` says"), out).await;
                }
                Outcome::Closed => return self.service.log_failure("the front server closed it before the response was complete"),
                Outcome::Malformed(malformed) if !has_response => return self.refuse(&mut front, of_malformed(malformed), out).await,
                Outcome::Evicted if !has_response => return self.refuse(&mut front, EVICTED, out).await,
                Outcome::Cut if !has_response => return self.send_refusal(&mut front, CUT, out).await,
                Outcome::Malformed(malformed) => self.service.log_refusal(of_malformed(malformed)),
                Outcome::Stalled => self.service.log_failure("the front server took the response too slowly, or not at all"),
                Outcome::Incomplete(error) => self.service.log_failure(Chain(&*error)),
                Outcome::Evicted | Outcome::Cut => {}
            }
            // The response is not to look complete.
            front.break_off(&mut out);
            if out.is_empty() {
                self.stream.abort_on_close();
            } else {
                let _ = write(&mut self.stream, &out).await;
            }
            return;
        }
    }

    /// Waits for the variables of the next request, and answers what concerns no request.
    async fn next_request<F: Front>(&mut self, front: &mut F) -> Result<(Variables, Option<u64>), NoRequest> {
        let mut timer = PhaseTimer::new();
        let requests = self.progress.requests();
        let mut is_in_head = !self.received.is_empty();
        loop {
            let event = poll_fn(|cx| {
                loop {
                    match front.take(&mut self.received) {
                        Ok(Some(event)) => return Poll::Ready(Ok(event)),
                        Err(malformed) => return Poll::Ready(Err(NoRequest::Malformed(malformed))),
                        // What came belongs to no request.
                        Ok(None) if self.received.is_empty() && !front.awaits_response() => is_in_head = false,
                        Ok(None) => {}
                    }
                    match poll_read(&mut self.stream, &mut self.received, READ, cx) {
                        Poll::Ready(true) => is_in_head = true,
                        Poll::Ready(false) => return Poll::Ready(Err(NoRequest::Over)),
                        Poll::Pending => break,
                    }
                }
                let connection = &self.progress.connection;
                let is_closing = connection.should_close(cx.waker()) && !is_in_head;
                // At a drain, a front server that has just connected is about to send its request.
                let is_fresh = requests == 0 && connection.is_closing();
                if is_closing && !is_fresh {
                    return Poll::Ready(Err(NoRequest::Over));
                }
                let (phase, limit) = match is_in_head {
                    true => (Phase::Head(requests), self.limits.header_timeout),
                    false if is_closing => (Phase::Idle(requests), FIRST_REQUEST_GRACE),
                    false if requests == 0 => (Phase::Idle(requests), self.limits.header_timeout),
                    false => (Phase::Idle(requests), self.limits.keep_alive),
                };
                let late = if is_in_head { NoRequest::TooSlow } else { NoRequest::Over };
                timer.poll(phase, Some(limit), cx).map(|()| Err(late))
            });
            match event.await? {
                Event::Request(variables, length) => return Ok((variables, length)),
                Event::Reply(octets) => {
                    if !write(&mut self.stream, &octets).await || !front.goes_on() {
                        return Err(NoRequest::Over);
                    }
                }
                Event::Data(_) | Event::End | Event::Abort => {}
            }
        }
    }

    /// The head of a request, or why it is refused: for the client, and for the log.
    fn head(&self, variables: &Variables) -> Result<Parts, (Refusal, String)> {
        let plain = |refusal: Refusal| (refusal, refusal.to_string());
        let parts = read_request(variables).map_err(|invalid| (Refusal::bad(invalid.reason), format!("400: the variable {invalid}")))?;
        if parts.method == Method::CONNECT {
            return Err(plain(Refusal::new(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported")));
        }
        if parts.headers.len() > self.limits.headers {
            return Err(plain(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers")));
        }
        if let Some(host) = parts.headers.get(HOST) {
            fields::host(host.as_bytes()).map_err(plain)?;
        }
        Ok(parts)
    }

    /// Logs and counts a request that is refused before it enters the stack, or in the midst of its body.
    async fn refuse<F: Front>(self, front: &mut F, refusal: Refusal, out: BytesMut) {
        self.service.log_refusal(refusal);
        self.send_refusal(front, refusal, out).await;
    }

    /// Sends a response behind what is left to send, and ends the connection.
    async fn send_refusal<F: Front>(mut self, front: &mut F, refusal: Refusal, mut out: BytesMut) {
        if !front.awaits_response() {
            return;
        }
        // A request that is cut off has counted itself.
        if refusal != CUT {
            self.progress.connection.count_refusal(&EndedRequest::refused(refusal.status));
        }
        self.progress.connection.set_busy();
        write_refusal(front, refusal.status, refusal.reason, &mut out);
        if write(&mut self.stream, &out).await {
            http1::close(Some(self.stream), true, &self.progress).await;
        }
    }
}

/// Writes a few octets. `false` if the front server does not take them.
async fn write(stream: &mut impl Io, octets: &[u8]) -> bool {
    let written = timeout(SHORT_WRITE, async {
        stream.write_all(octets).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok(())))
}

const fn of_malformed(malformed: Malformed) -> Refusal {
    match malformed {
        Malformed::Syntax(reason) => Refusal::bad(reason),
        Malformed::TooLarge(reason) => Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason),
        Malformed::NoLength(reason) => Refusal::new(StatusCode::LENGTH_REQUIRED, reason),
    }
}

const TOO_SLOW: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the variables of the request took too long");

const EVICTED: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the server is full, and this request arrives more slowly than others");

const CUT: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is being reloaded or stopped, and the time to finish this request is over");
