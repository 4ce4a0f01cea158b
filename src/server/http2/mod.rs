//! HTTP/2 on one connection.

mod body;
mod connect;
mod connection;
mod cork;
mod flood;
mod io;
mod requests;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use self::connection::Http2Connection;
use self::cork::Cork;
use self::io::Http2Io;
use self::requests::Requests;
pub(super) use self::upgrade::{ConnectStream, accept};
use super::io::Io;
use super::limits::{GRACE, Limits};
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::service::{Chain, RequestService};
use super::stream_task::GOAWAY_TIMEOUT;

/// What a client with prior knowledge sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a client that has sent `octets` of HTTP/2 until the connection ends.
pub(super) async fn run<S: Io>(
    stream: S,
    octets: Vec<u8>,
    service: &Arc<RequestService>,
    limits: &Limits,
    progress: &Arc<Progress>,
    timer: &mut PhaseTimer,
) {
    // The preface is complete. h2 reads the heads.
    progress.is_in_head.store(false, Relaxed);
    let cork = Arc::<Cork>::default();
    let requests = Requests::new(Arc::clone(service), Arc::clone(progress), Arc::clone(&cork), limits.body_timeout);
    let wire = Http2Io::new(stream, octets, Arc::clone(progress), Arc::clone(&cork));
    let mut connection = Http2Connection::new(wire, limits);
    let (mut is_closing, mut judged, mut gave_way) = (false, None, false);
    poll_fn(|cx| {
        // Responses that came together were woken together, each in its task. If those run first, all leave in one write. Not while a time limit runs: the timer has
        // to be looked at whenever it wakes this task.
        gave_way = !gave_way && progress.phase() == Phase::Busy;
        if gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            cork.begin_turn();
            if let Poll::Ready(end) = connection.poll(&requests, cx) {
                if let Err(error) = end {
                    service.log_failure(Chain(&error));
                }
                return Poll::Ready(());
            }
            if cork.open() {
                continue;
            }
            cork.end_turn();
            if progress.connection.is_evicted() {
                service.log_failure("the server is full, and its requests arrive more slowly than others");
                return Poll::Ready(());
            }
            let phase = progress.phase();
            if let Some(written) = judged.take() {
                if progress.is_too_slow(written, limits) {
                    service.log_failure("the client took the responses too slowly, or not at all");
                    return Poll::Ready(());
                }
                timer.restart();
            }
            let should_close = progress.connection.should_close(cx.waker());
            let limit = match phase {
                Phase::Busy => None,
                Phase::Stalled(_) => Some(limits.body_timeout),
                _ if is_closing && should_close && !progress.connection.is_closing() => Some(GRACE),
                _ if is_closing => Some(GOAWAY_TIMEOUT),
                Phase::Idle(0) => Some(limits.header_timeout),
                Phase::Idle(_) | Phase::Head(_) => Some(limits.keep_alive),
            };
            let is_overdue = timer.poll(phase, limit, cx).is_ready();
            if !is_closing && (should_close || (is_overdue && !matches!(phase, Phase::Stalled(_)))) {
                is_closing = true;
                timer.restart();
                connection.graceful_shutdown();
            } else if is_overdue && matches!(phase, Phase::Stalled(_)) {
                judged = Some(progress.judge_stall());
            } else if is_overdue {
                service.log_failure("the client neither read nor sent anything for too long");
                return Poll::Ready(());
            } else {
                return Poll::Pending;
            }
        }
    })
    .await;
}
