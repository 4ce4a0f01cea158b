//! The body of a request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use h3::server::RequestStream;
use http_body::{Body, Frame, SizeHint};

use super::quic::RecvStream;
use crate::server::expectation::Expectation;

/// A body that has exactly as many octets as `Content-Length` says, if it says anything (RFC 9114 section 4.1.2).
pub(super) struct Http3Body {
    stream: RequestStream<RecvStream, Bytes>,
    state: State,
    /// What is left by `Content-Length`.
    left: Option<u64>,
    /// What was read before the stack asked for it.
    peeked: Option<Result<Frame<Bytes>, BodyError>>,
    pub(super) expectation: Expectation,
}

#[derive(Clone, Copy)]
enum State {
    Data,
    Trailers,
    Ended,
}

/// Why a body is malformed, or cut short.
#[derive(Debug)]
pub(super) enum BodyError {
    TooLong,
    TooShort,
    Stream(StreamError),
}

impl Http3Body {
    pub(super) const fn new(stream: RequestStream<RecvStream, Bytes>, length: Option<u64>) -> Self {
        Self { stream, state: State::Data, left: length, peeked: None, expectation: Expectation::none() }
    }

    /// Reads what is there already, so that a request without a body is known as such.
    pub(super) fn peek(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Some(frame)) = self.poll_stream(cx) {
            self.peeked = Some(frame);
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.state {
            State::Data => match ready!(self.stream.poll_recv_data(cx)) {
                Ok(Some(mut data)) => {
                    let data = data.copy_to_bytes(data.remaining());
                    match &mut self.left {
                        Some(left) if data.len() as u64 > *left => Err(BodyError::TooLong),
                        left => {
                            *left = left.map(|left| left - data.len() as u64);
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                }
                Ok(None) if self.left.is_some_and(|left| left > 0) => Err(BodyError::TooShort),
                Ok(None) => {
                    self.state = State::Trailers;
                    return self.poll_stream(cx);
                }
                Err(error) => Err(BodyError::Stream(error)),
            },
            State::Trailers => match ready!(self.stream.poll_recv_trailers(cx)) {
                Ok(Some(trailers)) => Ok(Frame::trailers(trailers)),
                Ok(None) => {
                    self.state = State::Ended;
                    return Poll::Ready(None);
                }
                Err(error) => Err(BodyError::Stream(error)),
            },
            State::Ended => return Poll::Ready(None),
        };
        // h3 is not asked again after an error.
        self.state = State::Ended;
        Poll::Ready(Some(frame))
    }
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.peeked.take() {
            return Poll::Ready(Some(frame));
        }
        let frame = self.poll_stream(cx);
        self.expectation.note(&frame);
        frame
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) && self.peeked.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let peeked = self.peeked.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64);
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + peeked))
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("it is longer than `Content-Length` says"),
            Self::TooShort => f.write_str("it is shorter than `Content-Length` says"),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}
