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
use crate::server::response_body::{ResponseBody, ResponseGuard, StreamProgress};
use crate::server::service::{RequestService, ResponseFuture};

/// The way of an HTTP/2 connection's requests into the stack.
pub(super) struct StreamService {
    service: Arc<RequestService>,
    progress: Arc<Progress>,
    next: NextStream,
}

/// Where a request leaves its answer's pace for the task that will run it. hyper spawns that task right after it has called the service.
type NextStream = Arc<Mutex<Option<Arc<StreamProgress>>>>;

impl StreamService {
    pub(super) fn new(service: Arc<RequestService>, progress: Arc<Progress>) -> Self {
        Self { service, progress, next: NextStream::default() }
    }
}

impl Service<http::Request<Incoming>> for StreamService {
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: http::Request<Incoming>) -> ResponseFuture {
        let pace = Arc::<StreamProgress>::default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pace));
        self.service.enter(request, ResponseGuard::among_others(&self.progress, pace))
    }
}

/// Spawns the requests' tasks.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    next: NextStream,
    pause: Duration,
}

impl StreamExecutor {
    pub(super) fn new(streams: &StreamService, pause: Duration) -> Self {
        Self { next: Arc::clone(&streams.next), pause }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        tokio::spawn(StreamTask { future, pace: next.unwrap_or_default(), seen: None, pause: self.pause, timer: None });
    }
}

pin_project! {
    /// Ends a request early when its client takes nothing of the answer for too long; the stream is then reset.
    struct StreamTask<F> {
        #[pin]
        future: F,
        pace: Arc<StreamProgress>,
        seen: Option<u32>,
        pause: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
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
