//! HTTP/1 on one connection: hyper behind a [`Guard`].

mod chunks;
pub(super) mod fields;
mod framing;
mod guard;
mod half_closed;
mod head;
mod hints;
mod lent_files;
mod linger;
#[cfg(test)]
mod properties;
mod request_line;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;

pub(super) use self::guard::Guard;
use self::guard::ReadEnd;
pub(super) use self::head::Head;
pub(super) use self::hints::{HintedResponse, WaitingHints};
pub(super) use self::lent_files::LentFiles;
use super::io::Io;
use super::limits::{GRACE, Limits};
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::refusal::Refusal;
use super::request_metrics::EndedRequest;
use super::service::{Chain, RequestService};
use super::tunnel::Tunnel;
use super::upgrade::Upgraded;

/// How [`run`] ended.
pub(super) enum Outcome<S> {
    /// No request is under way, and the client has been silent for [`IDLE_BUFFERS`], or the connection is to close.
    Silent(Guard<S>),
    /// The stack has accepted an upgrade, and the stream is in the tunnel.
    Upgraded(Arc<Tunnel<S>>, Upgraded),
    /// The client speaks HTTP/2 and has sent these octets.
    Http2(S, Vec<u8>),
    /// The connection is closed.
    Ended,
}

/// How long a silent connection keeps hyper's parser and buffers. They should last while a response travels to the client and its next request back,
/// but not while a person thinks.
const IDLE_BUFFERS: Duration = Duration::from_millis(50);

/// Serves requests until the client is silent or the connection ends.
pub(super) async fn run<S: Io>(
    guard: Guard<S>,
    service: &Arc<RequestService>,
    limits: &Limits,
    progress: &Progress,
    timer: &mut PhaseTimer,
) -> Outcome<S> {
    let tunnel = guard.tunnel();
    progress.lent.begin(guard.sends_files());
    progress.hints.begin();
    let mut connection = builder(limits).serve_connection(TokioIo::new(guard), Arc::clone(service)).with_upgrades();
    let mut judged = None;
    let stop = poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Stop::End(end));
            }
            let phase = progress.phase();
            if let Some(written) = judged.take() {
                if progress.is_too_slow(written, limits) {
                    return Poll::Ready(Stop::TimedOut(phase));
                }
                timer.restart();
            }
            let should_close = progress.connection.should_close(cx.waker());
            let limit = match phase {
                // hyper is not told to shut down: it would drop a request that has come already, and add `Connection: close` to a 101. The next response
                // has `Connection: close` from the service.
                Phase::Idle(_) if should_close => return Poll::Ready(Stop::TimedOut(phase)),
                Phase::Busy | Phase::Stalled(_) if progress.connection.is_cut() => return Poll::Ready(Stop::Cut(phase)),
                Phase::Busy if progress.connection.is_evicted() => return Poll::Ready(Stop::Evicted),
                Phase::Busy => None,
                Phase::Idle(_) => Some(limits.keep_alive.min(IDLE_BUFFERS)),
                Phase::Head(_) if should_close && !progress.connection.is_closing() => Some(limits.header_timeout.min(GRACE)),
                Phase::Head(_) => Some(limits.header_timeout),
                Phase::Stalled(_) => Some(limits.body_timeout),
            };
            if timer.poll(phase, limit, cx).is_pending() {
                return Poll::Pending;
            }
            match phase {
                Phase::Stalled(_) => judged = Some(progress.judge_stall()),
                _ => return Poll::Ready(Stop::TimedOut(phase)),
            }
        }
    })
    .await;

    let Some(parts) = connection.into_parts() else {
        // hyper has given the guard away: to the stack, or to nobody if the upgrade was declined.
        match (progress.upgrade.take_upgraded(), tunnel.refusal()) {
            (Some(upgraded), _) => return Outcome::Upgraded(tunnel, upgraded),
            (None, Some(refusal)) => refuse(tunnel.take(), service, progress, refusal).await,
            (None, None) => close(tunnel.take(), true, progress).await,
        }
        return Outcome::Ended;
    };
    let mut guard = parts.io.into_inner();
    match stop {
        Stop::TimedOut(Phase::Idle(_) | Phase::Busy) => return Outcome::Silent(guard),
        Stop::TimedOut(Phase::Head(_)) => refuse(guard.into_parts().0, service, progress, TOO_SLOW).await,
        Stop::TimedOut(Phase::Stalled(_)) => service.log_failure("the client took the response too slowly, or not at all"),
        Stop::Cut(Phase::Busy) if may_refuse(progress) => refuse(guard.into_parts().0, service, progress, CUT).await,
        // Others wait for the room, so nothing is waited for here.
        Stop::Evicted if may_refuse(progress) => {
            service.log_refusal(EVICTED);
            let _ = guard.write_now(EVICTED.to_http1().as_bytes());
        }
        Stop::Cut(_) | Stop::Evicted => end_incomplete(guard, progress).await,
        Stop::End(end) => {
            if let Err(error) = &end {
                service.log_failure(Chain(error));
            }
            match guard.end() {
                Some(ReadEnd::Http2) => {
                    if let (Some(stream), octets) = guard.into_parts() {
                        return Outcome::Http2(stream, octets);
                    }
                }
                Some(ReadEnd::Refused(refusal)) if end.is_ok() && !guard.is_in_body() => {
                    refuse(guard.into_parts().0, service, progress, refusal).await;
                }
                Some(ReadEnd::Closed) if end.is_ok() => close(guard.into_parts().0, false, progress).await,
                // It has given up the response.
                Some(ReadEnd::Closed) => end_incomplete(guard, progress).await,
                _ if end.is_err_and(|error| error.is_user()) => end_incomplete(guard, progress).await,
                _ => {
                    let still_sending = !guard.is_between() || !parts.read_buf.is_empty();
                    close(guard.into_parts().0, still_sending, progress).await;
                }
            }
        }
    }
    Outcome::Ended
}

enum Stop {
    End(hyper::Result<()>),
    TimedOut(Phase),
    /// The time of the stack that the request is inside of is over.
    Cut(Phase),
    /// Others wait, and the client sends its request slowly.
    Evicted,
}

/// Whether nothing of the response to the request under way was sent.
fn may_refuse(progress: &Progress) -> bool {
    !progress.has_response.load(Relaxed) && !progress.hints.is_cut_short()
}

/// Sends a response to a request that has none, and ends the connection.
async fn refuse<S: Io>(stream: Option<S>, service: &RequestService, progress: &Progress, refusal: Refusal) {
    service.log_refusal(refusal);
    // A request that is cut off has counted itself.
    if refusal != CUT {
        progress.connection.count_refusal(&EndedRequest::refused(refusal.status));
    }
    progress.connection.set_busy();
    if let Some(stream) = stream {
        linger::refuse(stream, refusal).await;
    }
}

/// Ends a connection in the middle of a response, so that the response does not look complete.
async fn end_incomplete<S: Io>(guard: Guard<S>, progress: &Progress) {
    match guard.into_parts().0 {
        Some(stream) if progress.ends_by_closing() => stream.abort_on_close(),
        stream => close(stream, true, progress).await,
    }
}

/// Tells a client that its connection is not served.
pub(super) async fn refuse_connection(stream: impl Io, refusal: Refusal) {
    linger::refuse(stream, refusal).await;
}

/// Ends a connection. If the client may be `still_sending`, what it sends is dropped for a while.
pub(super) async fn close<S: Io>(stream: Option<S>, still_sending: bool, progress: &Progress) {
    progress.connection.set_busy();
    if let Some(stream) = stream {
        linger::close(stream, still_sending).await;
    }
}

/// Waits for the end of an upgraded connection. `upgraded` keeps the stack that accepted the upgrade until then.
pub(super) async fn run_tunnel<S: Io>(tunnel: &Tunnel<S>, upgraded: Upgraded, progress: &Progress) {
    /// Closes the stream wherever this task ends.
    struct Closed<'a, S>(&'a Tunnel<S>);
    impl<S> Drop for Closed<'_, S> {
        fn drop(&mut self) {
            drop(self.0.take());
        }
    }
    let closed = Closed(tunnel);
    let counted = progress.connection.count_tunnel();
    let cut = poll_fn(|cx| {
        // The waker is registered for `is_cut` too.
        progress.connection.should_close(cx.waker());
        if progress.connection.is_cut() { Poll::Ready(()) } else { Poll::Pending }
    });
    let end = tunnel.ended(upgraded.idle, cut).await;
    tunnel.close().await;
    tracing::debug!("an upgraded connection has ended: {end:?}");
    drop((closed, counted, upgraded));
}

const TOO_SLOW: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request head took too long");

const EVICTED: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the server is full, and this request arrives more slowly than others");

const CUT: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is being reloaded or stopped, and the time to finish this request is over");

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    // The guard and the phase timer keep the limits, because they can tell the client which one it has exceeded.
    builder.title_case_headers(limits.title_case_headers);
    builder.header_read_timeout(None).max_buf_size(limits.header_size.max(HYPER_BUFFER));
    if limits.headers > HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// The most that hyper buffers of a request's body and of a response.
const HYPER_BUFFER: usize = 64 << 10;

/// So many headers hyper parses without an allocation.
const HYPER_HEADERS: usize = 100;

/// Judges octets whole, and in pieces whose size is the first octet. Panics if the results differ.
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
