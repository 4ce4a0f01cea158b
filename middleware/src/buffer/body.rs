//! A body that has been received.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::spool::Reserved;
use crate::{Body, BoxError};

/// Content with trailers, or with the room that its file takes.
pub(super) struct SpooledBody {
    content: Body,
    trailers: Option<HeaderMap>,
    _reserved: Option<Reserved>,
}

impl SpooledBody {
    pub(super) const fn new(content: Body, trailers: Option<HeaderMap>, reserved: Option<Reserved>) -> Self {
        Self { content, trailers, _reserved: reserved }
    }
}

impl HttpBody for SpooledBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.content).poll_frame(cx));
        Poll::Ready(frame.or_else(|| self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.content.is_end_stream()
    }

    /// Not exact where trailers follow: a message with Content-Length has no place for them (RFC 9112 section 7.1.2).
    fn size_hint(&self) -> SizeHint {
        let mut hint = self.content.size_hint();
        if self.trailers.is_some() {
            let mut open = SizeHint::new();
            open.set_lower(hint.lower());
            hint = open;
        }
        hint
    }
}
