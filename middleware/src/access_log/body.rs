//! A response body that is counted for the log.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::entry::LogEntry;
use crate::{Body, BoxError};

/// Counts octets. The line is written when the server drops the body.
pub(super) struct LoggedBody {
    inner: Body,
    /// The length, if it is known. The server reads no further, not even to the end of the stream.
    length: Option<u64>,
    entry: Box<LogEntry>,
}

impl LoggedBody {
    pub(super) fn new(inner: Body, entry: Box<LogEntry>) -> Self {
        let length = entry.content_length().or_else(|| inner.size_hint().exact());
        Self { inner, length, entry }
    }
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.entry.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.entry.complete = this.inner.is_end_stream() || this.length == Some(this.entry.sent);
            }
            Poll::Ready(None) => this.entry.complete = true,
            Poll::Ready(Some(Err(_))) => this.entry.complete = false,
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
