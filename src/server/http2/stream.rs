//! The requests of an HTTP/2 connection. Each is a task, which ends early if its client reads nothing of the response for too long, or if the time of
//! its stack is over.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{ThreadId, current};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use ziggurat_middleware::spool::{ConnectionRoom, Room};

use crate::server::progress::Progress;
use crate::server::response_body::{ResponseBody, ResponseGuard, StreamProgress};
use crate::server::service::{RequestService, ResponseFuture};

/// How much memory the request bodies of one connection may take while they wait to be whole. More of them waits in files.
const BODY_MEMORY: u64 = 4 << 20;

/// The service of an HTTP/2 connection.
pub(super) struct StreamService {
    service: Arc<RequestService>,
    progress: Arc<Progress>,
    /// The memory that request bodies may take.
    room: ConnectionRoom,
    next: NextStream,
}

/// Where the service leaves the progress of a response for the task that will run it. hyper spawns that task right after it has called the service, on the same
/// thread. Tasks of upgraded streams are spawned by the tasks of their requests, perhaps at the same time on another thread.
type NextStream = Arc<Mutex<Option<(ThreadId, Arc<StreamProgress>)>>>;

impl StreamService {
    pub(super) fn new(service: Arc<RequestService>, progress: Arc<Progress>) -> Self {
        let room = ConnectionRoom(Arc::new(Room::new(BODY_MEMORY)));
        Self { service, progress, room, next: NextStream::default() }
    }
}

impl Service<http::Request<Incoming>> for StreamService {
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, mut request: http::Request<Incoming>) -> ResponseFuture {
        if !request.body().is_end_stream() {
            request.extensions_mut().insert(self.room.clone());
        }
        let stream = Arc::<StreamProgress>::default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((current().id(), Arc::clone(&stream)));
        self.service.serve(request, ResponseGuard::of_stream(&self.progress, stream))
    }
}

/// Spawns the tasks of requests.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    next: NextStream,
    pause: Duration,
}

impl StreamExecutor {
    /// `pause` is the longest time in which a client may read nothing of a response.
    pub(super) fn new(service: &StreamService, pause: Duration) -> Self {
        Self { next: Arc::clone(&service.next), pause }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = next.take_if(|(thread, _)| *thread == current().id()).map(|(_, progress)| progress).unwrap_or_default();
        drop(next);
        tokio::spawn(StreamTask { future, progress, seen: None, pause: self.pause, timer: None, cut: None });
    }
}

pin_project! {
    /// Drops the future of a request early; h2 resets its stream then.
    struct StreamTask<F> {
        #[pin]
        future: F,
        progress: Arc<StreamProgress>,
        seen: Option<u32>,
        pause: Duration,
        timer: Option<Pin<Box<Sleep>>>,
        cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
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
