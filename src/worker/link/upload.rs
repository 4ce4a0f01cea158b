//! A request's body on its way to a worker, as fast as the app reads it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::frame::{LARGEST_INLINE, ToWorker, WINDOW};
use super::server_end::ServerEnd;
use crate::call::BodyFailure;
use crate::call::pipe::Reader;

/// The link's end of an upload. Dropping it ends the upload.
pub(crate) struct UploadHandle(Arc<Credit>);

/// How much of an upload may be sent.
struct Credit(Mutex<CreditState>);

struct CreditState {
    octets: usize,
    is_closed: bool,
    waker: Option<Waker>,
}

/// The task that sends the body.
pub(crate) struct Upload {
    credit: Arc<Credit>,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Stream(Reader<Arc<BodyFailure>>),
}

impl UploadHandle {
    /// Grants so many more octets. Returns false if more would be granted than the window has.
    #[must_use]
    pub(crate) fn grant(&self, octets: usize) -> bool {
        let mut is_within = true;
        self.0.change(|state| {
            is_within = octets <= WINDOW - state.octets;
            state.octets += if is_within { octets } else { 0 };
        });
        is_within
    }
}

impl Drop for UploadHandle {
    fn drop(&mut self) {
        self.0.change(|state| state.is_closed = true);
    }
}

impl Credit {
    fn change(&self, change: impl FnOnce(&mut CreditState)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for credit; `None` when the call is over.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut state = self.lock();
        if state.is_closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        if state.octets > 0 { Poll::Ready(Some(state.octets)) } else { Poll::Pending }
    }

    fn lock(&self) -> MutexGuard<'_, CreditState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// A body in memory.
    pub(crate) fn whole(octets: Bytes) -> (UploadHandle, Self) {
        Self::new(Source::Whole(octets), WINDOW)
    }

    /// A streamed body. A lazy one waits for the first grant.
    pub(crate) fn stream(reader: Reader<Arc<BodyFailure>>, is_lazy: bool) -> (UploadHandle, Self) {
        Self::new(Source::Stream(reader), if is_lazy { 0 } else { WINDOW })
    }

    fn new(source: Source, octets: usize) -> (UploadHandle, Self) {
        let credit = Arc::new(Credit(Mutex::new(CreditState { octets, is_closed: false, waker: None })));
        (UploadHandle(Arc::clone(&credit)), Self { credit, source })
    }

    /// Sends until the body or the call ends.
    pub(crate) async fn run(mut self, number: u64, link: Arc<ServerEnd>) {
        let mut chunk = Bytes::new();
        loop {
            if chunk.is_empty() {
                chunk = match poll_fn(|cx| self.poll_next(cx)).await {
                    Next::Chunk(octets) => octets,
                    Next::End => return link.send(&ToWorker::BodyEnd(number)),
                    Next::Failed(failure) => {
                        let detail = Bytes::copy_from_slice(failure.detail.as_bytes());
                        return link.send(&ToWorker::BodyFailed(number, failure.status.as_u16(), detail));
                    }
                    Next::Unwanted => return,
                };
            }
            let Some(room) = poll_fn(|cx| self.credit.poll_room(cx)).await else { return };
            let part = chunk.split_to(chunk.len().min(room).min(LARGEST_INLINE));
            self.credit.lock().octets -= part.len();
            link.send_chunk(number, part);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // A lazy body is not read before the app reads, and the call may end before that.
        let room = self.credit.poll_room(cx);
        match (&mut self.source, room) {
            (_, Poll::Ready(None)) => Poll::Ready(Next::Unwanted),
            (Source::Whole(octets), _) if octets.is_empty() => Poll::Ready(Next::End),
            (Source::Whole(octets), _) => Poll::Ready(Next::Chunk(std::mem::take(octets))),
            (Source::Stream(_), Poll::Pending) => Poll::Pending,
            (Source::Stream(reader), _) => reader.poll_recv(cx).map(|next| match next {
                Some(Ok(octets)) => Next::Chunk(octets),
                Some(Err(failure)) => Next::Failed(failure),
                None => Next::End,
            }),
        }
    }
}

enum Next {
    Chunk(Bytes),
    End,
    Failed(Arc<BodyFailure>),
    Unwanted,
}
