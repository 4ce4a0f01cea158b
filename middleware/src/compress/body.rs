//! A body that is encoded while it is sent.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::encoder::Encoder;
use crate::coop::{STEP, Workers, poll_room, poll_turn};
use crate::{Body, BoxError};

/// Up to so many octets are encoded at once on this thread: the pieces of a stream that pauses.
const SMALL: usize = 8 << 10;

/// Encodes `inner`, and flushes whenever `inner` is pending.
pub(super) struct EncodedBody {
    inner: Body,
    stage: Stage,
    workers: Workers,
    /// Read from `inner`, not encoded yet, and how much that is.
    input: VecDeque<Bytes>,
    waiting: usize,
    /// The octets that the encoder has got since its last flush.
    held: usize,
    /// The last step was on another thread.
    was_working: bool,
    ended: bool,
    trailers: Option<HeaderMap>,
}

enum Stage {
    /// The encoder, while nothing happens to it.
    Idle(Box<Encoder>),
    /// The encoder is on another thread.
    Working(Pin<Box<dyn Future<Output = io::Result<Step>> + Send>>),
    /// The encoded stream has ended, or has failed.
    Done,
}

/// What a step of the encoder gives.
struct Step {
    /// `None` at the end of the stream.
    encoder: Option<Box<Encoder>>,
    output: Vec<u8>,
}

/// What follows the octets of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Continue,
    Flush,
    Finish,
}

impl EncodedBody {
    pub(super) fn new(inner: Body, encoder: Encoder, workers: Workers) -> Self {
        let stage = Stage::Idle(Box::new(encoder));
        Self { inner, stage, workers, input: VecDeque::new(), waiting: 0, held: 0, was_working: false, ended: false, trailers: None }
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
                this.stage = Stage::Done;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl EncodedBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BoxError>> {
        loop {
            let done = match &mut self.stage {
                Stage::Done => return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers))),
                Stage::Working(work) => {
                    let done = ready!(work.as_mut().poll(cx))?;
                    self.was_working = true;
                    done
                }
                Stage::Idle(_) => {
                    let then = ready!(self.poll_input(cx))?;
                    match self.begin(then, cx) {
                        Poll::Ready(done) => done?,
                        Poll::Pending if matches!(self.stage, Stage::Working(_)) => continue,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            self.stage = done.encoder.map_or(Stage::Done, Stage::Idle);
            if let Some(frame) = frame(done.output) {
                return Poll::Ready(Ok(Some(frame)));
            }
        }
    }

    /// Reads until there is enough for a step of the encoder. Pending only if it has nothing to flush.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<Then, BoxError>> {
        if self.was_working {
            // A step that another thread has done at once is followed by no other in this turn.
            ready!(poll_room(cx, STEP));
            self.was_working = false;
        }
        while self.waiting < STEP && !self.ended {
            match Pin::new(&mut self.inner).poll_frame(cx)? {
                Poll::Ready(Some(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.waiting += data.len();
                        self.input.push_back(data);
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if self.waiting + self.held > 0 => return Poll::Ready(Ok(Then::Flush)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(if self.waiting > STEP || !self.ended { Then::Continue } else { Then::Finish }))
    }

    /// Takes a step at once if it is small. Pending with [`Stage::Working`] if another thread takes it, and otherwise until this task has another turn.
    fn begin(&mut self, then: Then, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let octets = self.waiting.min(STEP);
        // Another thread may be so fast that this one could go on for ever.
        ready!(poll_turn(cx, octets));
        let small = self.held + octets <= SMALL;
        let Stage::Idle(encoder) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Poll::Ready(Err(io::Error::other("the encoder is in use")));
        };
        self.held = if then == Then::Continue { self.held + octets } else { 0 };
        let step = step(encoder, self.take(octets), then);
        if small {
            return Poll::Ready(step());
        }
        self.stage = Stage::Working(Box::pin(self.workers.run(step)));
        Poll::Pending
    }

    fn take(&mut self, octets: usize) -> Vec<Bytes> {
        let (mut taken, mut left) = (Vec::with_capacity(self.input.len()), octets);
        while left > 0
            && let Some(first) = self.input.front_mut()
        {
            let piece = first.split_to(first.len().min(left));
            left -= piece.len();
            if first.is_empty() {
                self.input.pop_front();
            }
            taken.push(piece);
        }
        self.waiting -= octets;
        taken
    }
}

fn step(mut encoder: Box<Encoder>, input: Vec<Bytes>, then: Then) -> impl FnOnce() -> io::Result<Step> + Send + 'static {
    move || {
        for piece in input {
            encoder.write(&piece)?;
        }
        match then {
            Then::Finish => return Ok(Step { encoder: None, output: encoder.finish()? }),
            Then::Flush => encoder.flush()?,
            Then::Continue => {}
        }
        let output = encoder.take();
        Ok(Step { encoder: Some(encoder), output })
    }
}

fn frame(octets: Vec<u8>) -> Option<Frame<Bytes>> {
    (!octets.is_empty()).then(|| Frame::data(octets.into()))
}
