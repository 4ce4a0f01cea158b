//! A body that is encoded while it is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::encoder::Encoder;
use crate::{Body, BoxError};

/// How many octets are encoded before other connections of the same thread have their turn.
const YIELD_AFTER: usize = 32 << 10;

/// Encodes `inner`, and flushes whenever `inner` is pending.
pub(super) struct EncodedBody {
    inner: Body,
    /// `None` once the stream has ended.
    encoder: Option<Encoder>,
    /// Read from `inner`, not encoded yet.
    input: Bytes,
    /// Whether the encoder has octets that are not flushed.
    held: bool,
    trailers: Option<HeaderMap>,
}

impl EncodedBody {
    pub(super) const fn new(inner: Body, encoder: Encoder) -> Self {
        Self { inner, encoder: Some(encoder), input: Bytes::new(), held: false, trailers: None }
    }
}

type Next = Option<Result<Frame<Bytes>, BoxError>>;

impl HttpBody for EncodedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = &mut *self;
        match ready!(this.poll(cx)) {
            Ok(frame) => Poll::Ready(frame.map(Ok)),
            Err(error) => {
                // Without the end of the encoded stream, the client sees that the body is cut short.
                this.encoder = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl EncodedBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BoxError>> {
        let mut turn = YIELD_AFTER;
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers))) };
            if !self.input.is_empty() {
                if turn == 0 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let input = self.input.split_to(self.input.len().min(turn));
                turn -= input.len();
                encoder.write(&input)?;
                self.held = true;
                if let Some(frame) = frame(encoder.take()) {
                    return Poll::Ready(Ok(Some(frame)));
                }
                continue;
            }
            match Pin::new(&mut self.inner).poll_frame(cx)? {
                Poll::Ready(Some(frame)) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(None) => {
                    let rest = self.encoder.take().map_or(Ok(Vec::new()), Encoder::finish)?;
                    if let Some(frame) = frame(rest) {
                        return Poll::Ready(Ok(Some(frame)));
                    }
                }
                Poll::Pending if self.held => {
                    encoder.flush()?;
                    self.held = false;
                    if let Some(frame) = frame(encoder.take()) {
                        return Poll::Ready(Ok(Some(frame)));
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn frame(octets: Vec<u8>) -> Option<Frame<Bytes>> {
    (!octets.is_empty()).then(|| Frame::data(octets.into()))
}
