//! A response body that holds a permit.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::slots::Permit;
use crate::{Body, BoxError};

/// The permit is free when the server drops the body: at its end, or when the client has gone.
pub(super) struct HeldBody {
    inner: Body,
    _permit: Permit,
}

impl HeldBody {
    pub(super) const fn new(inner: Body, permit: Permit) -> Self {
        Self { inner, _permit: permit }
    }
}

impl HttpBody for HeldBody {
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
