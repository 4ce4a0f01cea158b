//! A response body under the clock.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::BodyVisit;
use crate::BoxError;

/// A streamed body that a layer or app has made or changed.
pub(crate) struct TimedBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    /// Dropped after `inner`, which stands before it: bodies below end first.
    visit: BodyVisit,
}

impl TimedBody {
    pub(crate) const fn new(inner: UnsyncBoxBody<Bytes, BoxError>, visit: BodyVisit) -> Self {
        Self { inner, visit }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.visit.ask();
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        // While it is pending, the clock is with the innermost body that was asked.
        if frame.is_ready() {
            self.visit.answer();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
