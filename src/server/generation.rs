//! The stack in use, and how it is replaced while requests are inside it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::{Next, NextFuture, Request};

use super::connection_table::ConnectionTable;

/// A stack while it is in use. The server holds it for requests to come. Each request holds it until the last octet of its response is handed
/// over, and each upgraded connection until it ends. Loading the current generation and being counted in it are one step.
pub(super) struct Generation {
    stack: Next,
    /// From 1.
    number: u64,
    cut: CancellationToken,
    /// Dropped after the stack: no request is inside it any more.
    _end: oneshot::Sender<Infallible>,
}

/// The generation that the next request of any connection enters.
pub(super) type CurrentGeneration = ArcSwap<Generation>;

impl Generation {
    pub(super) fn new(number: u64, stack: Next, table: &Arc<ConnectionTable>) -> (Arc<Self>, Retiring) {
        let (end, ended) = oneshot::channel();
        let cut = CancellationToken::new();
        let retiring = Retiring { ended, number, cut: cut.clone(), table: Arc::clone(table) };
        (Arc::new(Self { stack, number, cut, _end: end }), retiring)
    }

    pub(super) fn call(&self, request: Request) -> NextFuture {
        self.stack.send(request)
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Cancelled when the requests of this generation are to be cut off.
    pub(super) const fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

/// A stack that was replaced. As a future it is ready when no request is inside the stack any more, response bodies and upgraded connections
/// included. The server has then dropped the stack.
#[must_use = "a stack that was replaced still serves the requests inside it"]
pub struct Retiring {
    ended: oneshot::Receiver<Infallible>,
    number: u64,
    cut: CancellationToken,
    table: Arc<ConnectionTable>,
}

impl Retiring {
    /// Cuts off what is still inside the stack. Over HTTP/1 a request without a response gets a 503, and the connection is closed in the middle of a
    /// response that has begun. An HTTP/2 stream is reset. An upgraded connection is closed.
    pub fn cut(&self) {
        // An HTTP/1 connection has one request at a time and is told through the table, so that no request has to register with the token.
        self.cut.cancel();
        self.table.cut(self.number);
    }
}

impl Future for Retiring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.ended).poll(cx).map(drop)
    }
}
