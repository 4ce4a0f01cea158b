//! A response body that holds a permit.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{Body, BoxError};

/// The permit is free when the server drops the body: at its end, or when the client has gone.
pub(super) struct HeldBody<P> {
    inner: Body,
    _permit: P,
}

impl<P> HeldBody<P> {
    pub(super) const fn new(inner: Body, permit: P) -> Self {
        Self { inner, _permit: permit }
    }
}

impl<P: Unpin> HttpBody for HeldBody<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
