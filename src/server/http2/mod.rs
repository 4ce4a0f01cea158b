//! HTTP/2 on one connection.

mod flood;
mod stream;
mod wire;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};

use self::stream::{Spawner, Streams};
use self::wire::Wire;
use super::clock::Clock;
use super::limits::Limits;
use super::progress::{Phase, Progress};
use super::service::{Chain, Entrance};
use super::socket::Socket;

/// Requests that one connection may have in progress at once.
const STREAMS: u32 = 128;

/// What a client may send of one body, and of all bodies together, before somebody reads it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What of one answer may wait in memory for the client.
const SEND_BUFFER: usize = 64 << 10;

/// How long a client that was told to leave, and has nothing in progress, may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves a client that has said `octets` of HTTP/2 so far, until the connection ends.
pub(super) async fn run(
    socket: Socket,
    octets: Vec<u8>,
    entrance: &Arc<Entrance>,
    limits: &Limits,
    progress: &Arc<Progress>,
    clock: &mut Clock,
) {
    // The preface is complete; heads are h2's business.
    progress.is_in_head.store(false, Relaxed);
    let streams = Streams::new(Arc::clone(entrance), Arc::clone(progress));
    let spawner = Spawner::new(&streams, limits.body_timeout);
    let mut builder = Builder::new(spawner);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let wire = Wire::new(socket, octets, Arc::clone(progress));
    let mut connection = builder.serve_connection(TokioIo::new(wire), streams);
    let mut is_leaving = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
                if let Err(error) = end {
                    entrance.log_failure(Chain(&error));
                }
                return Poll::Ready(());
            }
            let phase = progress.phase();
            let limit = match phase {
                Phase::Busy => None,
                Phase::Stalled(_) => Some(limits.body_timeout),
                _ if is_leaving => Some(PATIENCE),
                Phase::Idle(0) => Some(limits.header_timeout),
                Phase::Idle(_) | Phase::Head(_) => Some(limits.keep_alive),
            };
            let is_overdue = clock.poll(phase, limit, cx).is_ready();
            let shall_leave = progress.seat.shall_leave(cx.waker());
            if !is_leaving && (shall_leave || (is_overdue && !matches!(phase, Phase::Stalled(_)))) {
                is_leaving = true;
                clock.restart();
                Pin::new(&mut connection).graceful_shutdown();
            } else if is_overdue {
                entrance.log_failure("the client neither takes nor says anything");
                return Poll::Ready(());
            } else {
                return Poll::Pending;
            }
        }
    })
    .await;
}
