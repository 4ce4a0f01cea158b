//! The stack in use, exchanged while requests are inside the one before.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use ziggurat_middleware::{Answer, Next, Request};

/// A stack for as long as it is in use. The server holds it for the requests to come, and each request inside the stack holds it until the
/// last octet of its answer is given away. Choosing the stack and being counted in it are one step, so that nobody slips in between.
pub(super) struct Generation {
    stack: Next,
    /// Dropped after the stack: nobody is inside any more.
    _end: oneshot::Sender<Infallible>,
}

/// The generation that the next request of any connection enters.
pub(super) type CurrentGeneration = ArcSwap<Generation>;

impl Generation {
    pub(super) fn new(stack: Next) -> (Arc<Self>, Retired) {
        let (end, ended) = oneshot::channel();
        (Arc::new(Self { stack, _end: end }), Retired(ended))
    }

    pub(super) fn call(&self, request: Request) -> Answer {
        self.stack.send(request)
    }
}

/// Ready once the server has let go of a stack and no request is inside it any more, response bodies included. The server's own hold on
/// the stack is dropped by then.
#[must_use = "a stack that was replaced still serves the requests inside it"]
pub struct Retired(oneshot::Receiver<Infallible>);

impl Future for Retired {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
