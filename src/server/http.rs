//! HTTP on one connection. The first octets tell HTTP/1 from HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::connection_table::ConnectionGuard;
use super::generation::CurrentGeneration;
use super::http1::{self, Guard, Outcome};
use super::http2;
use super::io::{Connection, Io, Versions};
use super::limits::{GRACE, Limits};
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::service::RequestService;

/// Serves one client until it disconnects or its connection is closed.
///
/// A silent connection costs only its stream: parser and buffers are made when octets come, and freed after a short silence.
pub(super) async fn serve<S: Io>(connection: Connection<S>, current: Arc<CurrentGeneration>, limits: Arc<Limits>, guard: ConnectionGuard) {
    let Connection { stream, info, tls, versions, offers_http3 } = connection;
    let progress = Arc::new(Progress::new(guard));
    let service = Arc::new(RequestService::new(current, info, tls, offers_http3, Arc::clone(&limits), Arc::clone(&progress)));
    let mut timer = PhaseTimer::new();
    let mut guard = Guard::new(stream, versions == Versions::Any, Arc::clone(&limits), Arc::clone(&progress));
    while has_octets(&mut guard, &limits, &progress, &mut timer).await {
        if versions == Versions::Http2 {
            if let (Some(stream), octets) = guard.into_early() {
                Box::pin(http2::run(stream, octets, &service, &limits, &progress, &mut timer)).await;
            }
            return;
        }
        // Parser and buffers are freed before the match.
        let outcome = Box::pin(http1::run(guard, &service, &limits, &progress, &mut timer)).await;
        match outcome {
            Outcome::Silent(silent) => guard = silent,
            Outcome::Upgraded(tunnel, upgraded) => return Box::pin(http1::run_tunnel(&tunnel, upgraded, &progress)).await,
            Outcome::Http2(stream, octets) => return Box::pin(http2::run(stream, octets, &service, &limits, &progress, &mut timer)).await,
            Outcome::Ended => return,
        }
    }
    // TLS ends with a message of its own.
    http1::close(guard.into_parts().0, false, &progress).await;
}

/// Waits until octets come. Returns false if the connection is to end.
async fn has_octets<S: Io>(guard: &mut Guard<S>, limits: &Limits, progress: &Progress, timer: &mut PhaseTimer) -> bool {
    let phase = progress.phase();
    let limit = if phase == Phase::Idle(0) { limits.header_timeout } else { limits.keep_alive };
    poll_fn(|cx| {
        if let Poll::Ready(has_octets) = guard.poll_wake(cx) {
            return Poll::Ready(has_octets);
        }
        // A request that has come already gets its response.
        if progress.connection.should_close(cx.waker()) && !guard.has_unread() {
            // A client that has just connected is about to send its request.
            let is_fresh = phase == Phase::Idle(0) && timer.poll(phase, Some(GRACE), cx).is_pending();
            return if is_fresh { Poll::Pending } else { Poll::Ready(false) };
        }
        timer.poll(phase, Some(limit), cx).map(|()| false)
    })
    .await
}
