//! A request body without its content coding.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame};

use super::decoder::{Coding, Decoder, Malformed};
use crate::coop::poll_turn;
use crate::units::Size;
use crate::{Body, BoxError, Problem};

/// The most octets that a step gives.
const ROOM: usize = 32 << 10;

/// Up to here, a body may expand as much as it likes: a short text of one letter expands a thousand times.
const UNJUDGED: u64 = 1 << 20;

/// How much a body may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) at_most: Size,
    /// How many octets may come of each.
    pub(super) ratio: u64,
}

/// A body that is decoded while it is read. It fails at what is no part of its coding and at the first octet over a bound, and at every read after that: a cut body never
/// looks complete.
pub(super) struct DecodedBody {
    inner: Body,
    coding: Coding,
    state: State,
    bounds: Bounds,
    input: Bytes,
    /// Whether the decoder may have more output of what it has read.
    has_more: bool,
    room: Box<[u8]>,
    received: u64,
    produced: u64,
    trailers: Option<HeaderMap>,
}

enum State {
    Decoding(Decoder),
    Ended,
    Failed(StatusCode, String),
}

impl DecodedBody {
    pub(super) fn new(inner: Body, coding: Coding, bounds: Bounds) -> std::io::Result<Self> {
        Ok(Self {
            inner,
            coding,
            state: State::Decoding(Decoder::new(coding)?),
            bounds,
            input: Bytes::new(),
            has_more: false,
            room: vec![0; ROOM].into(),
            received: 0,
            produced: 0,
            trailers: None,
        })
    }

    /// Takes a step with what is at hand; `None` if that gives nothing.
    fn decode(&mut self) -> Result<Option<Bytes>, (StatusCode, String)> {
        let State::Decoding(decoder) = &mut self.state else { return Ok(None) };
        let step = decoder.step(&self.input, &mut self.room).map_err(|Malformed| self.coding.malformed())?;
        if step.consumed + step.produced == 0 && !self.input.is_empty() {
            return Err(self.coding.malformed());
        }
        self.input.advance(step.consumed.min(self.input.len()));
        self.has_more = step.produced == self.room.len();
        self.produced += step.produced as u64;
        self.bounds.check(self.received, self.produced)?;
        Ok((step.produced > 0).then(|| Bytes::copy_from_slice(&self.room[..step.produced])))
    }

    /// Ends the body where it may end.
    fn end(&mut self) -> Result<(), (StatusCode, String)> {
        match &self.state {
            State::Decoding(decoder) if !decoder.is_whole() => {
                Err((StatusCode::BAD_REQUEST, format!("the request body ends before its `{}` does", self.coding.token())))
            }
            _ => {
                self.state = State::Ended;
                Ok(())
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BoxError>> {
        loop {
            match &self.state {
                State::Failed(status, detail) => return Poll::Ready(Err(Problem::new(*status).detail(detail.clone()).into())),
                State::Ended => return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers))),
                State::Decoding(_) => {}
            }
            if !self.input.is_empty() || self.has_more {
                // How much will come of the input is not known yet.
                let octets = if self.has_more { ROOM } else { ROOM.min(self.input.len() * 8) };
                ready!(poll_turn(cx, octets));
                match self.decode() {
                    Ok(Some(octets)) => return Poll::Ready(Ok(Some(Frame::data(octets)))),
                    Ok(None) => {}
                    Err((status, detail)) => self.state = State::Failed(status, detail),
                }
                continue;
            }
            let ended = match ready!(Pin::new(&mut self.inner).poll_frame(cx)?) {
                Some(frame) => match frame.into_data() {
                    Ok(octets) => {
                        self.received += octets.len() as u64;
                        self.input = octets;
                        Ok(())
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        Ok(())
                    }
                },
                None => self.end(),
            };
            if let Err((status, detail)) = ended {
                self.state = State::Failed(status, detail);
            }
        }
    }
}

impl HttpBody for DecodedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.poll(cx).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) && self.trailers.is_none()
    }
}

impl Bounds {
    fn check(self, received: u64, produced: u64) -> Result<(), (StatusCode, String)> {
        let detail = if produced > self.at_most.0 {
            format!("the request body is over {} without its coding", self.at_most)
        } else if produced > UNJUDGED && produced > received.saturating_mul(self.ratio) {
            format!("the request body expands to more than {} times its size", self.ratio)
        } else {
            return Ok(());
        };
        Err((StatusCode::PAYLOAD_TOO_LARGE, detail))
    }
}

impl Coding {
    fn malformed(self) -> (StatusCode, String) {
        (StatusCode::BAD_REQUEST, format!("the request body is not valid `{}`", self.token()))
    }
}
