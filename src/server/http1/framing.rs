//! Follows requests through a connection's octets: where each head begins and ends, and where its body.

use super::chunks::{Chunks, Progress};
use super::head::{Head, Length};
use crate::server::limits::Limits;
use crate::server::refusal::Refusal;

/// Where in the stream of requests the octets are.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// Heads that passed.
    heads: u32,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body(u64),
    Chunks(Chunks),
    Refused { refusal: Refusal, in_body: bool },
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self { state: State::Head(Head::default()), heads: 0 }
    }

    /// Reads on and gives how many of `octets`, from the first on, may pass. The others belong to a head (or to trailers) that is not complete:
    /// they are to be given again, with more behind them. After a refusal nothing passes any more.
    pub(crate) fn advance(&mut self, octets: &[u8], limits: &Limits) -> usize {
        let mut passed = 0;
        while passed < octets.len() {
            let rest = &octets[passed..];
            match self.step(rest, limits) {
                Ok(0) => break,
                Ok(taken) => passed += taken,
                Err(refusal) => self.state = State::Refused { refusal, in_body: self.is_in_body() },
            }
        }
        passed
    }

    fn step(&mut self, octets: &[u8], limits: &Limits) -> Result<usize, Refusal> {
        match &mut self.state {
            State::Head(head) => {
                let Some((size, length)) = head.read(octets, limits)? else { return Ok(0) };
                self.heads += 1;
                self.state = match length {
                    Length::Known(0) => State::Head(Head::default()),
                    Length::Known(length) => State::Body(length),
                    Length::Chunked => State::Chunks(Chunks::new()),
                };
                Ok(size)
            }
            State::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::Head(Head::default());
                }
                Ok(here)
            }
            State::Chunks(chunks) => match chunks.advance(octets, limits)? {
                Progress::Open(taken) => Ok(taken),
                Progress::Done(taken) => {
                    self.state = State::Head(Head::default());
                    Ok(taken)
                }
            },
            State::Refused { .. } => Ok(0),
        }
    }

    /// Heads that passed so far.
    pub(crate) const fn heads(&self) -> u32 {
        self.heads
    }

    /// Why nothing passes any more.
    pub(crate) const fn refusal(&self) -> Option<Refusal> {
        match self.state {
            State::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether the octets so far end inside a body, or were refused there.
    pub(crate) const fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunks(_) | State::Refused { in_body: true, .. })
    }

    /// Whether the octets so far end between requests.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.is_untouched())
    }
}
