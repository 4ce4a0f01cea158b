//! An answer's body on its way to the wire.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use ziggurat_middleware::{Body, BoxError};

use super::generation::Generation;
use super::progress::Progress;

/// A body that tells when hyper has let go of it.
pub(super) struct ResponseBody {
    body: Body,
    /// Ends after `body`, which stands before it.
    guard: Option<ResponseGuard>,
}

/// One request's time inside the server: from the head to the last octet of the answer, or to the moment the client is given up.
pub(super) struct ResponseGuard {
    progress: Arc<Progress>,
    /// In HTTP/2, where the connection goes on while one answer waits.
    pace: Option<Arc<StreamProgress>>,
    /// The stack that the request is inside of.
    generation: Option<Arc<Generation>>,
}

/// How an answer gets on: whether it waits for the client to take more, and a number that changes with every step.
#[derive(Default)]
pub(super) struct StreamProgress {
    waits_for_client: AtomicBool,
    steps: AtomicU32,
}

impl StreamProgress {
    /// While the answer waits for the client: how many steps it has made.
    pub(super) fn waits_at(&self) -> Option<u32> {
        self.waits_for_client.load(Relaxed).then(|| self.steps.load(Relaxed))
    }

    fn step(&self, waits_for_client: bool) {
        self.steps.fetch_add(1, Relaxed);
        self.waits_for_client.store(waits_for_client, Relaxed);
    }
}

impl ResponseGuard {
    /// A guard of a connection that has one at a time.
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
        Self { progress: Arc::clone(progress), pace: None, generation: None }
    }

    /// A guard among others.
    pub(super) fn among_others(progress: &Arc<Progress>, pace: Arc<StreamProgress>) -> Self {
        progress.begin_request();
        Self { progress: Arc::clone(progress), pace: Some(pace), generation: None }
    }

    /// Lets the stack that the request has entered live until the guard ends.
    pub(super) fn keep(&mut self, generation: Arc<Generation>) {
        self.generation = Some(generation);
    }

    fn step(&self, waits_for_client: bool) {
        if let Some(pace) = &self.pace {
            pace.step(waits_for_client);
        }
    }
}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        let was_last = self.progress.answer();
        if was_last && self.pace.is_some() {
            // Another task: the connection's own one has to look at the clock.
            self.progress.connection.wake();
        }
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, guard: Option<ResponseGuard>) -> Self {
        if let Some(guard) = &guard {
            guard.step(true);
        }
        Self { body, guard }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(guard) = &self.guard {
            guard.step(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
