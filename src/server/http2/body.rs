//! The body of a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use crate::server::expectation::Expectation;

/// A body whose octets give the client room for more as they are read. h2 compares it with `Content-Length`.
pub(super) struct Http2Body {
    stream: RecvStream,
    /// What is left of `Content-Length`.
    left: Option<u64>,
    /// Only trailers may follow.
    has_data: bool,
    pub(super) expectation: Expectation,
}

impl Http2Body {
    /// `length` is the one that the head states.
    pub(super) const fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, left: length, has_data: true, expectation: Expectation::none() }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.has_data {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let data = data?;
                // It fails if the stream is gone, which the next poll tells.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_data = false;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let frame = self.poll_stream(cx);
        self.expectation.note(&frame);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
