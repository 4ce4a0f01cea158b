//! A body that is copied while it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::sender::{Figures, Mirrored, Sender};
use crate::{Body, BoxError};

/// The copy of a body that is not whole yet. It is sent at its end. Dropped before that, it is counted.
pub(super) struct BodyCopy {
    copy: Option<Mirrored>,
    octets: BytesMut,
    most: u64,
    sender: Sender,
    figures: Arc<Figures>,
}

impl BodyCopy {
    pub(super) fn new(copy: Mirrored, most: u64, sender: Sender, figures: Arc<Figures>) -> Self {
        Self { copy: Some(copy), octets: BytesMut::new(), most, sender, figures }
    }

    /// Whether there is room for these octets, too.
    fn keep(&mut self, data: &[u8]) -> bool {
        let has_room = (self.octets.len() + data.len()) as u64 <= self.most;
        if has_room {
            self.octets.extend_from_slice(data);
        }
        has_room
    }

    fn finish(mut self) {
        if let Some(copy) = self.copy.take() {
            self.sender.send(copy, std::mem::take(&mut self.octets).freeze());
        }
    }
}

impl Drop for BodyCopy {
    fn drop(&mut self) {
        if self.copy.is_some() {
            self.figures.body.add(1);
        }
    }
}

/// A body as the layers below read it.
pub(super) struct CopiedBody {
    inner: Body,
    copy: Option<BodyCopy>,
}

impl CopiedBody {
    pub(super) const fn new(inner: Body, copy: BodyCopy) -> Self {
        Self { inner, copy: Some(copy) }
    }
}

impl HttpBody for CopiedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && !self.copy.as_mut().is_none_or(|copy| copy.keep(data))
                {
                    self.copy = None;
                }
                // Who knows that the body has ended asks for no more.
                if self.inner.is_end_stream()
                    && let Some(copy) = self.copy.take()
                {
                    copy.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => self.copy = None,
            Poll::Ready(None) => {
                if let Some(copy) = self.copy.take() {
                    copy.finish();
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
