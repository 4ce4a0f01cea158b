//! HTTP/3 on one QUIC connection (RFC 9114).
//!
//! h3 reads and writes frames and field sections. What it takes without question is checked in front of it (`frames`, `field_section`) and behind it (`body`).

mod body;
mod field_section;
mod frames;
mod quic;
mod request;
mod response;
mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::quic::QuicConnection;
use self::request::Requests;
use self::wire::Wire;
use super::limits::{GRACE, Limits};
use super::phase_timer::PhaseTimer;
use super::progress::{Phase, Progress};
use super::service::RequestService;
use super::stream_task::{GOAWAY_TIMEOUT, STREAMS, body_room};

/// Reads octets as frames, whole and in pieces. Panics if the results differ.
#[cfg(fuzzing)]
pub fn fuzz_frames(octets: &[u8]) {
    frames::fuzz(octets);
}

/// How long a connection stays open after its last response, at least and in round trips, so that the client learns of the end before it comes.
const LINGER: Duration = Duration::from_millis(50);
const LINGER_TRIPS: u32 = 3;

/// What is next on a connection.
enum Turn {
    Overdue,
    Closing,
    Evicted,
}

/// Serves a client until the connection ends.
pub(super) async fn run(
    connection: ::quinn::Connection,
    closing: CancellationToken,
    service: Arc<RequestService>,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
) {
    let wire = Arc::new(Wire::new(connection, limits.header_size));
    let mut builder = h3::server::builder();
    builder.max_field_section_size(limits.header_size as u64).send_grease(false);
    // It waits if the client allows no streams.
    let built = timeout(limits.header_timeout, builder.build::<_, Bytes>(QuicConnection::new(Arc::clone(&wire)))).await;
    let Ok(Ok(mut connection)) = built else {
        service.log_failure("HTTP/3 did not begin");
        return wire.close(Code::H3_INTERNAL_ERROR, "");
    };
    let requests = Arc::new(Requests { service, progress, limits, wire, room: body_room() });
    let Requests { service, progress, limits, wire, .. } = &*requests;
    let mut streams = JoinSet::new();
    let (mut timer, mut is_closing) = (PhaseTimer::new(), false);
    loop {
        let is_over = is_closing && streams.is_empty() && progress.is_settled();
        // A client that has just connected is about to send its request.
        let linger = if progress.requests() == 0 { GRACE } else { LINGER.max(LINGER_TRIPS * wire.connection.rtt()).min(GOAWAY_TIMEOUT) };
        let turn = poll_fn(|cx| {
            let should_close = progress.connection.should_close(cx.waker()) || closing.is_cancelled();
            if progress.connection.is_evicted() {
                return Poll::Ready(Turn::Evicted);
            }
            if should_close && !is_closing {
                return Poll::Ready(Turn::Closing);
            }
            let phase = progress.phase();
            let limit = match phase {
                Phase::Idle(_) if is_closing && should_close && !progress.connection.is_closing() => Some(GRACE),
                Phase::Idle(_) if is_closing => Some(GOAWAY_TIMEOUT),
                Phase::Idle(0) => Some(limits.header_timeout),
                Phase::Idle(_) => Some(limits.keep_alive),
                // Requests have limits of their own.
                Phase::Busy | Phase::Head(_) | Phase::Stalled(_) => None,
            };
            timer.poll(phase, limit, cx).map(|()| Turn::Overdue)
        });
        tokio::select! {
            accepted = connection.accept() => match (accepted, wire.take_accepted()) {
                (Ok(Some(resolver)), Some(state)) => drop(streams.spawn(Arc::clone(&requests).serve(resolver, state))),
                (Ok(_), _) => break,
                (Err(error), _) => {
                    if !error.is_h3_no_error() {
                        service.log_failure(error);
                    }
                    break;
                }
            },
            Some(_) = streams.join_next() => {}
            () = sleep(linger), if is_over => break,
            () = closing.cancelled(), if !is_closing => {}
            turn = turn => match turn {
                Turn::Evicted => {
                    service.log_failure("the server is full, and its requests arrive more slowly than others");
                    wire.close(Code::H3_EXCESSIVE_LOAD, "the server is full");
                    break;
                }
                Turn::Overdue if is_closing => break,
                Turn::Overdue | Turn::Closing => {
                    is_closing = true;
                    timer.restart();
                    // Requests that are on their way are served (RFC 9114 section 5.2). h3 names the last one as the first that is not served, without the number.
                    if connection.shutdown(STREAMS as usize).await.is_err() {
                        break;
                    }
                }
            },
        }
    }
    wire.close(Code::H3_NO_ERROR, "");
}
