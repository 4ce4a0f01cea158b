//! One connection from its first octet to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::connection_table::ConnectionGuard;
use super::generation::CurrentGeneration;
use super::http1::{self, Guard, Outcome};
use super::http2;
use super::limits::Limits;
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::service::RequestService;
use super::socket::Socket;

/// Serves one client until it leaves, is sent away, or fails.
///
/// While nothing is said, the connection is only its socket: parser and buffers are made when octets come, and given back when the
/// client has been silent for a while.
pub(super) async fn run(socket: Socket, stack: Arc<CurrentGeneration>, limits: Arc<Limits>, guard: ConnectionGuard) {
    // A client that is gone already has no address.
    let Ok(connection) = socket.connection() else { return };
    let progress = Arc::new(Progress::new(guard));
    let service = Arc::new(RequestService::new(stack, connection, Arc::clone(&limits), Arc::clone(&progress)));
    let mut clock = PhaseTimer::new();
    let mut guard = Guard::new(socket, Arc::clone(&limits), Arc::clone(&progress));
    while is_woken(&mut guard, &limits, &progress, &mut clock).await {
        match Box::pin(http1::run(guard, &service, &limits, &progress, &mut clock)).await {
            Outcome::Silent(silent) => guard = silent,
            Outcome::Http2(socket, octets) => return Box::pin(http2::run(socket, octets, &service, &limits, &progress, &mut clock)).await,
            Outcome::Ended => return,
        }
    }
}

/// How long after it was accepted a connection that has said nothing may still say something, when the server drains.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Waits for octets, or the end of the connection, while nothing is at hand.
async fn is_woken(guard: &mut Guard<Socket>, limits: &Limits, progress: &Progress, clock: &mut PhaseTimer) -> bool {
    let phase = progress.phase();
    let limit = if phase == Phase::Idle(0) { limits.header_timeout } else { limits.keep_alive };
    poll_fn(|cx| {
        if let Poll::Ready(has_spoken) = guard.poll_wake(cx) {
            return Poll::Ready(has_spoken);
        }
        // Who has asked something already is answered first.
        if progress.connection.should_close(cx.waker()) && !guard.socket().has_spoken() {
            // At a drain, who has only just come is about to ask.
            let is_fresh = phase == Phase::Idle(0)
                && progress.connection.is_closing()
                && clock.poll(phase, Some(FIRST_REQUEST_GRACE), cx).is_pending();
            return if is_fresh { Poll::Pending } else { Poll::Ready(false) };
        }
        clock.poll(phase, Some(limit), cx).map(|()| false)
    })
    .await
}
