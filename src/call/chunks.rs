//! Chunks of a response as a body of a known or unknown length.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use ziggurat_middleware::BoxError;

use super::pipe::Reader;

/// Where the chunks of a response come from.
pub(crate) trait ChunkSource {
    /// The next chunk; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;
}

impl ChunkSource for Reader<BoxError> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.poll_recv(cx)
    }
}

/// A response body of chunks.
pub(crate) struct Chunks<S> {
    source: S,
    /// What is left of the length, where that is known.
    left: Option<u64>,
    is_ended: bool,
}

impl<S> Chunks<S> {
    pub(crate) const fn new(source: S, length: Option<u64>) -> Self {
        Self { source, left: length, is_ended: false }
    }
}

impl<S: ChunkSource + Unpin> Body for Chunks<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.source.poll_chunk(cx);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64)),
            Poll::Ready(_) => self.is_ended = true,
            Poll::Pending => {}
        }
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
