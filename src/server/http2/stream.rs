//! The requests of an HTTP/2 connection.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{ThreadId, current};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::Service;
use ziggurat_middleware::spool::ConnectionRoom;

use crate::server::progress::Progress;
use crate::server::response_body::{ResponseBody, ResponseGuard, StreamProgress};
use crate::server::service::{RequestService, ResponseFuture};
use crate::server::stream_task::{StreamTask, body_room};

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
        Self { service, progress, room: body_room(), next: NextStream::default() }
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
        tokio::spawn(StreamTask::new(future, progress, self.pause));
    }
}
