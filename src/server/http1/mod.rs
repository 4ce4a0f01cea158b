//! HTTP/1 on one connection: hyper behind a [`Guard`].

mod chunks;
pub(super) mod fields;
mod framing;
mod guard;
mod head;
mod linger;
#[cfg(test)]
mod properties;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use self::guard::End;
pub(super) use self::guard::Guard;
use super::limits::Limits;
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::refusal::Refusal;
use super::service::{Chain, RequestService};
use super::socket::Socket;

/// How a stretch of HTTP/1 ended.
pub(super) enum Outcome {
    /// Nothing is in progress, and the client has been silent for [`IDLE_BUFFERS`] or shall leave.
    Silent(Guard<Socket>),
    /// The client speaks HTTP/2, and has said this so far.
    Http2(Socket, Vec<u8>),
    /// The connection is closed.
    Ended,
}

/// After how much silence the parser and its buffers are given back. A client that is waited for only while an answer travels to it and the
/// next request back should find them; one that thinks should not keep them.
const IDLE_BUFFERS: Duration = Duration::from_millis(50);

/// Serves requests until the client is silent or the connection ends.
pub(super) async fn run(
    guard: Guard<Socket>,
    service: &Arc<RequestService>,
    limits: &Limits,
    progress: &Progress,
    clock: &mut PhaseTimer,
) -> Outcome {
    let mut connection = builder(limits).serve_connection(TokioIo::new(guard), Arc::clone(service));
    let mut is_closing = false;
    let stop = poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Stop::End(end));
            }
            // After the poll, so that a request which is here already still gets its answer.
            if !is_closing && progress.connection.should_close(cx.waker()) {
                if let phase @ Phase::Idle(_) = progress.phase() {
                    // The kernel may hold octets that the runtime has not heard of yet; who waits for the next request asks it.
                    return Poll::Ready(Stop::TimedOut(phase));
                }
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            let phase = progress.phase();
            let limit = match phase {
                Phase::Busy => None,
                Phase::Idle(_) => Some(limits.keep_alive.min(IDLE_BUFFERS)),
                Phase::Head(_) => Some(limits.header_timeout),
                Phase::Stalled(_) => Some(limits.body_timeout),
            };
            return clock.poll(phase, limit, cx).map(|()| Stop::TimedOut(phase));
        }
    })
    .await;

    let parts = connection.into_parts();
    let guard = parts.io.into_inner();
    match stop {
        Stop::TimedOut(Phase::Idle(_) | Phase::Busy) => return Outcome::Silent(guard),
        Stop::TimedOut(Phase::Head(_)) => end_with(guard, service, progress, TOO_SLOW).await,
        Stop::TimedOut(Phase::Stalled(_)) => service.log_failure("it took nothing of the answer for too long"),
        Stop::End(end) => {
            if let Err(error) = &end {
                service.log_failure(Chain(error));
            }
            match guard.end() {
                Some(End::Http2) => {
                    let (socket, octets) = guard.into_parts();
                    return Outcome::Http2(socket, octets);
                }
                Some(End::Refused(refusal)) if end.is_ok() && !guard.is_in_body() => end_with(guard, service, progress, refusal).await,
                Some(End::Closed) => {}
                _ if end.is_err_and(|error| error.is_user()) && progress.ends_by_closing() => linger::abort(&guard.into_parts().0),
                _ => {
                    let has_more_to_say = !guard.is_between() || !parts.read_buf.is_empty();
                    progress.connection.busy();
                    linger::close(guard.into_parts().0, has_more_to_say).await;
                }
            }
        }
    }
    Outcome::Ended
}

enum Stop {
    End(hyper::Result<()>),
    TimedOut(Phase),
}

const TOO_SLOW: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request head took too long");

/// Answers a request that hyper never saw, and ends the connection.
async fn end_with(guard: Guard<Socket>, service: &RequestService, progress: &Progress, refusal: Refusal) {
    service.log_refusal(refusal);
    progress.connection.busy();
    linger::refuse(guard.into_parts().0, refusal).await;
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    // The guard and the clock keep time and size, and say what was wrong.
    builder.header_read_timeout(None).max_buf_size(limits.header_size.max(HYPER_BUFFER));
    if limits.headers > HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// Bounds what hyper takes into memory of one connection's body, and of its answers.
const HYPER_BUFFER: usize = 64 << 10;

/// So many headers hyper parses without asking for memory.
const HYPER_HEADERS: usize = 100;

/// Judges octets whole and in pieces of as many octets as the first one says, and panics where the verdicts differ.
#[cfg(fuzzing)]
pub fn fuzz_framing(octets: &[u8]) {
    let Some((size, octets)) = octets.split_first() else { return };
    let limits = Limits::from(&super::Options::default());
    let mut whole = framing::Framing::new();
    whole.advance(octets, &limits);
    let mut cut = framing::Framing::new();
    let mut held = Vec::new();
    for piece in octets.chunks(usize::from(*size).max(1)) {
        held.extend_from_slice(piece);
        let passed = cut.advance(&held, &limits);
        held.drain(..passed);
    }
    assert_eq!((whole.heads(), whole.refusal()), (cut.heads(), cut.refusal()));
}
