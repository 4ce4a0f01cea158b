//! A request's body on its way to a worker, as fast as the app takes it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::frame::{LARGEST_INLINE, Order, WINDOW};
use super::front::Link;
use crate::call::BodyFailure;
use crate::call::pipe::Reader;

/// What the link knows of an upload: how far it may go.
pub(crate) struct Handle(Mutex<Allowance>);

struct Allowance {
    octets: usize,
    is_closed: bool,
    waker: Option<Waker>,
}

/// The task that sends.
pub(crate) struct Upload {
    handle: Arc<Handle>,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Stream(Reader<Arc<BodyFailure>>),
}

impl Handle {
    /// So many more octets may go.
    pub(crate) fn grant(&self, octets: usize) {
        self.change(|allowance| allowance.octets = allowance.octets.saturating_add(octets));
    }

    /// The call is over: nobody wants the rest.
    pub(crate) fn close(&self) {
        self.change(|allowance| allowance.is_closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Allowance)) {
        let mut allowance = self.lock();
        change(&mut allowance);
        let waker = allowance.waker.take();
        drop(allowance);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until something may go; `None` once nothing is wanted any more.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut allowance = self.lock();
        if allowance.is_closed {
            return Poll::Ready(None);
        }
        allowance.waker = Some(cx.waker().clone());
        if allowance.octets > 0 { Poll::Ready(Some(allowance.octets)) } else { Poll::Pending }
    }

    fn lock(&self) -> MutexGuard<'_, Allowance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// A body that is at hand.
    pub(crate) fn whole(octets: Bytes) -> (Arc<Handle>, Self) {
        Self::new(Source::Whole(octets), WINDOW)
    }

    /// A body that still comes; a lazy one waits for the first grant.
    pub(crate) fn stream(reader: Reader<Arc<BodyFailure>>, is_lazy: bool) -> (Arc<Handle>, Self) {
        Self::new(Source::Stream(reader), if is_lazy { 0 } else { WINDOW })
    }

    fn new(source: Source, octets: usize) -> (Arc<Handle>, Self) {
        let handle = Arc::new(Handle(Mutex::new(Allowance { octets, is_closed: false, waker: None })));
        (Arc::clone(&handle), Self { handle, source })
    }

    /// Sends until the body ends, or the call does.
    pub(crate) async fn run(mut self, number: u64, link: Arc<Link>) {
        let mut chunk = Bytes::new();
        loop {
            if chunk.is_empty() {
                chunk = match poll_fn(|cx| self.poll_next(cx)).await {
                    Next::Chunk(octets) => octets,
                    Next::End => return link.send(&Order::BodyEnd(number)),
                    Next::Failed(failure) => {
                        let detail = Bytes::copy_from_slice(failure.detail.as_bytes());
                        return link.send(&Order::BodyFailed(number, failure.status.as_u16(), detail));
                    }
                    Next::Unwanted => return,
                };
            }
            let Some(room) = poll_fn(|cx| self.handle.poll_room(cx)).await else { return };
            let part = chunk.split_to(chunk.len().min(room).min(LARGEST_INLINE));
            self.handle.lock().octets -= part.len();
            link.send(&Order::Body(number, part));
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // A lazy body is not asked for before the app asks, and the call may end meanwhile.
        let room = self.handle.poll_room(cx);
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
