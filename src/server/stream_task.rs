//! The requests of a connection that carries many at once. A task that runs one ends early if its client reads nothing of the response for too long, or
//! if the time of its stack is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use ziggurat_middleware::spool::{ConnectionRoom, Room};

use super::response_body::StreamProgress;

/// Requests that one connection may have under way at once.
pub(super) const STREAMS: u32 = 128;

/// What a client may send of one body, and of all bodies together, before the stack reads it. Bodies that nobody reads do not stop the others until there are 16 of them.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;

/// How long a client without requests may keep its connection after GOAWAY.
pub(super) const GOAWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much memory the request bodies of one connection may take while they wait to be whole. More of them waits in files.
const BODY_MEMORY: u64 = 4 << 20;

/// The memory that the request bodies of a connection may take.
pub(super) fn body_room() -> ConnectionRoom {
    ConnectionRoom(Arc::new(Room::new(BODY_MEMORY)))
}

pin_project! {
    /// Drops the future of a request early, which resets its stream.
    pub(super) struct StreamTask<F> {
        #[pin]
        future: F,
        progress: Arc<StreamProgress>,
        seen: Option<u32>,
        pause: Duration,
        timer: Option<Pin<Box<Sleep>>>,
        cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    }
}

impl<F> StreamTask<F> {
    /// `pause` is the longest time in which a client may read nothing of a response.
    pub(super) const fn new(future: F, progress: Arc<StreamProgress>, pause: Duration) -> Self {
        Self { future, progress, seen: None, pause, timer: None, cut: None }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.cut.is_none() {
            *this.cut = this.progress.cut().map(|cut| Box::pin(cut.clone().cancelled_owned()));
        }
        if this.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        let seen = this.progress.waits_at();
        if *this.seen != seen {
            *this.seen = seen;
            *this.timer = seen.map(|_| Box::pin(sleep(*this.pause)));
        }
        this.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}
