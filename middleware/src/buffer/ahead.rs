//! A response body that is read ahead of a slow client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::spool::Reserved;
use crate::{Body, BoxError};

/// The least that a frame counts for. Without it, a body of single octets would not be bounded.
const FRAME: usize = 64;

/// What a task has read of the body below, in order.
pub(super) struct ReadAhead {
    frames: UnboundedReceiver<Read>,
    /// Of what has not been handed on.
    hint: SizeHint,
    _reserved: Reserved,
}

/// A frame, and the room that it takes until the client has it.
type Read = (Result<Frame<Bytes>, BoxError>, Option<OwnedSemaphorePermit>);

impl ReadAhead {
    /// Reads as many octets ahead as `reserved` has room for.
    pub(super) fn new(body: Body, reserved: Reserved, runtime: &Handle) -> Self {
        let (sender, frames) = unbounded_channel();
        let hint = body.size_hint();
        runtime.spawn(read(body, usize::try_from(reserved.octets()).unwrap_or(usize::MAX).max(FRAME), sender));
        Self { frames, hint, _reserved: reserved }
    }
}

/// Reads until the body ends or the client leaves. Room becomes free as the client takes frames.
async fn read(mut body: Body, most: usize, sender: UnboundedSender<Read>) {
    let room = Arc::new(Semaphore::new(most));
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(frame) = frame else { return };
        let octets = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
        // A frame that is larger than all room takes all of it.
        let permits = u32::try_from(octets.clamp(FRAME, most)).unwrap_or(u32::MAX);
        let permit = tokio::select! {
            biased;
            () = sender.closed() => return,
            permit = Arc::clone(&room).acquire_many_owned(permits) => permit.ok(),
        };
        if sender.send((frame, permit)).is_err() {
            return;
        }
    }
}

impl HttpBody for ReadAhead {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let read = ready!(self.frames.poll_recv(cx));
        let Some((frame, _)) = read else {
            self.hint = SizeHint::with_exact(0);
            return Poll::Ready(None);
        };
        let octets = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(self.hint.lower().saturating_sub(octets));
        if let Some(upper) = self.hint.upper() {
            hint.set_upper(upper.saturating_sub(octets));
        }
        self.hint = hint;
        Poll::Ready(Some(frame))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
