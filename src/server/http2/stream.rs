//! The requests of an HTTP/2 connection. Each that is not answered at once is a task.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::Service;
use tokio::task;
use ziggurat_middleware::spool::ConnectionRoom;

use super::cork::Cork;
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
    cork: Arc<Cork>,
    next: NextStream,
}

/// Where the service leaves the progress of a response for the executor. hyper executes the request right after it has called the service, in the connection's task.
/// What a request executes itself, as its upgrade, is executed in the task of its stream.
type NextStream = Arc<Mutex<Option<Arc<StreamProgress>>>>;

impl StreamService {
    pub(super) fn new(service: Arc<RequestService>, progress: Arc<Progress>, cork: Arc<Cork>) -> Self {
        Self { service, progress, room: body_room(), cork, next: NextStream::default() }
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
        self.cork.close();
        let stream = Arc::<StreamProgress>::default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stream));
        self.service.serve(request, ResponseGuard::of_stream(&self.progress, stream))
    }
}

/// Polls requests, and spawns tasks for those that go on.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// The connection's task.
    connection: Option<task::Id>,
    next: NextStream,
    cork: Arc<Cork>,
    pause: Duration,
}

impl StreamExecutor {
    /// Of the connection whose task this is. `pause` is the longest time in which a client may read nothing of a response.
    pub(super) fn new(service: &StreamService, pause: Duration) -> Self {
        Self { connection: task::try_id(), next: Arc::clone(&service.next), cork: Arc::clone(&service.cork), pause }
    }
}

impl<F: Future<Output = ()> + Send + Unpin + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, mut future: F) {
        let progress = match task::try_id() == self.connection {
            true => self.next.lock().unwrap_or_else(PoisonError::into_inner).take(),
            false => None,
        };
        // Many responses are there at once, and a task would cost more than they do. As in a task, a panic ends one stream only.
        if progress.is_some() && self.cork.has_room() {
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))));
            if !matches!(polled, Ok(Poll::Pending)) {
                return;
            }
        }
        // The task polls the future at once, with its own waker.
        tokio::spawn(StreamTask::new(future, progress.unwrap_or_default(), self.pause));
    }
}
