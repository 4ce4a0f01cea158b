//! The requests of an HTTP/2 connection: each is a task of its own, cut off where its client takes nothing of its answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::server::progress::Progress;
use crate::server::reply::{Pace, Reply, Turn};
use crate::server::service::{Answering, Entrance};

/// The way of an HTTP/2 connection's requests into the stack.
pub(super) struct Streams {
    entrance: Arc<Entrance>,
    progress: Arc<Progress>,
    newest: Newest,
}

/// Where a request leaves its answer's pace for the task that will run it. hyper spawns that task right after it has called the service.
type Newest = Arc<Mutex<Option<Arc<Pace>>>>;

impl Streams {
    pub(super) fn new(entrance: Arc<Entrance>, progress: Arc<Progress>) -> Self {
        Self { entrance, progress, newest: Newest::default() }
    }
}

impl Service<http::Request<Incoming>> for Streams {
    type Response = http::Response<Reply>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let pace = Arc::<Pace>::default();
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pace));
        self.entrance.enter(request, Turn::among_others(&self.progress, pace))
    }
}

/// Spawns the requests' tasks.
#[derive(Clone)]
pub(super) struct Spawner {
    newest: Newest,
    pause: Duration,
}

impl Spawner {
    pub(super) fn new(streams: &Streams, pause: Duration) -> Self {
        Self { newest: Arc::clone(&streams.newest), pause }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
        tokio::spawn(Watched { future, pace: newest.unwrap_or_default(), seen: None, pause: self.pause, timer: None });
    }
}

pin_project! {
    /// Ends a request early when its client takes nothing of the answer for too long; the stream is then reset.
    struct Watched<F> {
        #[pin]
        future: F,
        pace: Arc<Pace>,
        seen: Option<u32>,
        pause: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let seen = this.pace.waits_at();
        if *this.seen != seen {
            *this.seen = seen;
            *this.timer = seen.map(|_| Box::pin(sleep(*this.pause)));
        }
        this.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}
