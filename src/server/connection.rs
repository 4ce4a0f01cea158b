//! One connection from its first octet to its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use ziggurat_middleware::Next;

use super::Options;
use super::seat::Seat;
use super::service::Entrance;
use super::socket::Socket;

/// [`Options`] in the terms of a connection.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) header_size: usize,
    pub(super) headers: usize,
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Self {
        Self {
            header_timeout: options.header_timeout.0,
            body_timeout: options.body_timeout.0,
            keep_alive: options.keep_alive.0,
            header_size: usize::try_from(options.max_header_size.0).unwrap_or(usize::MAX),
            headers: options.max_headers,
        }
    }
}

pub(super) async fn run(socket: Socket, stack: Next, limits: Arc<Limits>, seat: Seat) {
    let Ok(origin) = socket.origin() else { return };
    let _ = limits;
    let entrance = Entrance::new(stack, origin);
    let connection = hyper::server::conn::http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(socket), entrance);
    let mut connection = std::pin::pin!(connection);
    let _ = poll_fn(|cx| {
        if seat.shall_leave(cx.waker()) {
            connection.as_mut().graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await;
}
