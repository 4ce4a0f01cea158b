//! Follows the requests of a connection through its octets: where each head and body begins and ends.

use std::ops::Range;

use super::chunks::{Chunks, Step};
use super::head::{Complete, Head, Length};
use super::request_line;
use crate::server::limits::Limits;
use crate::server::refusal::Refusal;

/// The position in the stream of requests.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// Heads that passed.
    heads: u32,
    /// The request under way asks for an upgrade.
    has_upgrade: bool,
    /// Where the octets that passed last have request lines to rewrite.
    rewrites: Vec<Range<usize>>,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body(u64),
    Chunks(Chunks),
    /// Behind a request with `Upgrade`.
    Upgrade,
    Refused {
        refusal: Refusal,
        in_body: bool,
    },
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self { state: State::Head(Head::default()), heads: 0, has_upgrade: false, rewrites: Vec::new() }
    }

    /// Reads on and returns how many of `octets`, from the first on, may pass. The others belong to an incomplete head or to incomplete trailers: pass
    /// them again, with more behind them. After a refusal nothing passes any more.
    pub(crate) fn advance(&mut self, octets: &[u8], limits: &Limits) -> usize {
        let mut passed = 0;
        self.rewrites.clear();
        while passed < octets.len() {
            let rest = &octets[passed..];
            match self.step(rest, passed, limits) {
                Ok(0) => break,
                Ok(taken) => passed += taken,
                Err(refusal) => self.state = State::Refused { refusal, in_body: self.is_in_body() },
            }
        }
        passed
    }

    /// What passed last, where it has request lines that have to be rewritten.
    pub(crate) fn rewritten(&mut self, passed: &[u8]) -> Option<Vec<u8>> {
        if self.rewrites.is_empty() {
            return None;
        }
        let mut rewritten = Vec::with_capacity(passed.len() + 64);
        let mut copied = 0;
        for line in self.rewrites.drain(..) {
            rewritten.extend_from_slice(&passed[copied..line.start]);
            rewritten.extend_from_slice(&request_line::rewritten(&passed[line.clone()]));
            copied = line.end;
        }
        rewritten.extend_from_slice(&passed[copied..]);
        Some(rewritten)
    }

    fn step(&mut self, octets: &[u8], start: usize, limits: &Limits) -> Result<usize, Refusal> {
        match &mut self.state {
            State::Head(head) => {
                let Some(Complete { size, length, has_upgrade, rewrite }) = head.read(octets, limits)? else { return Ok(0) };
                self.rewrites.extend(rewrite.map(|line| start + line.start..start + line.end));
                self.heads += 1;
                self.has_upgrade = has_upgrade;
                self.state = match length {
                    Length::Known(0) => self.next(),
                    Length::Known(length) => State::Body(length),
                    Length::Chunked => State::Chunks(Chunks::new()),
                };
                Ok(size)
            }
            State::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                *left -= here as u64;
                if *left == 0 {
                    self.state = self.next();
                }
                Ok(here)
            }
            State::Chunks(chunks) => match chunks.advance(octets, limits)? {
                Step::Open(taken) => Ok(taken),
                Step::Done(taken) => {
                    self.state = self.next();
                    Ok(taken)
                }
            },
            State::Upgrade | State::Refused { .. } => Ok(0),
        }
    }

    /// The state behind a request.
    fn next(&self) -> State {
        if self.has_upgrade { State::Upgrade } else { State::Head(Head::default()) }
    }

    /// Whether the octets to come are judged only after the response to a request with `Upgrade`. Nothing passes before.
    pub(crate) const fn awaits_upgrade(&self) -> bool {
        matches!(self.state, State::Upgrade)
    }

    /// Goes on with the next request, because the upgrade was declined.
    pub(crate) fn resume(&mut self) {
        self.state = State::Head(Head::default());
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
        match &self.state {
            State::Head(head) => head.is_untouched(),
            State::Upgrade => true,
            _ => false,
        }
    }
}
