//! Follows a chunked body and refuses what RFC 9112 section 7.1 does not allow.

use super::head::Trailers;
use crate::server::limits::Limits;
use crate::server::refusal::Refusal;

/// A chunked body while it is read.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Octets of chunk extensions so far. Extensions are ignored, so many of them only cost time.
    extensions: usize,
}

#[derive(Debug)]
enum State {
    Size {
        digits: usize,
        size: u64,
    },
    /// Whitespace after the size: only an extension may follow.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    Trailers(Trailers),
}

/// How far a call of [`Chunks::advance`] came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many octets are part of the body, which goes on.
    Open(usize),
    /// The body ends after so many octets.
    Done(usize),
}

const LONGEST_EXTENSIONS: usize = 4096;
const MOST_DIGITS: usize = 16;

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size { digits: 0, size: 0 }, extensions: 0 }
    }

    /// Reads on. Octets of incomplete trailers do not count as part of the body: pass them again.
    pub(crate) fn advance(&mut self, octets: &[u8], limits: &Limits) -> Result<Step, Refusal> {
        let mut at = 0;
        while at < octets.len() {
            match &mut self.state {
                State::Data(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len() - at);
                    at += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                }
                State::Trailers(trailers) => {
                    return Ok(match trailers.read(&octets[at..], limits)? {
                        Some(size) => Step::Done(at + size),
                        None => Step::Open(at),
                    });
                }
                _ => {
                    self.octet(octets[at])?;
                    at += 1;
                }
            }
        }
        Ok(Step::Open(at))
    }

    fn octet(&mut self, octet: u8) -> Result<(), Refusal> {
        self.state = match (&self.state, octet) {
            (&State::Size { digits, size }, octet) if octet.is_ascii_hexdigit() => {
                let digit = (octet as char).to_digit(16).map_or(0, u64::from);
                let size = size.checked_mul(16).and_then(|size| size.checked_add(digit)).filter(|size| i64::try_from(*size).is_ok());
                match size {
                    Some(size) if digits < MOST_DIGITS => State::Size { digits: digits + 1, size },
                    _ => return Err(Refusal::bad("the size of a chunk is too large")),
                }
            }
            (&State::Size { digits: 1.., size }, b'\r') | (&State::Extension { size }, b'\r') => State::SizeLf { size },
            (&State::Size { digits: 1.., size } | &State::Blank { size }, b' ' | b'\t') => self.extension(State::Blank { size })?,
            (&State::Size { digits: 1.., size } | &State::Blank { size }, b';') => self.extension(State::Extension { size })?,
            (&State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extension(State::Extension { size })?,
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers(Trailers::default()),
            (&State::SizeLf { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::DataCr | State::DataLf, _) => {
                return Err(Refusal::bad("a chunk is longer than its size says, or does not end in CR LF"));
            }
            _ => return Err(Refusal::bad("the line before a chunk is malformed")),
        };
        Ok(())
    }

    fn extension(&mut self, state: State) -> Result<State, Refusal> {
        self.extensions += 1;
        if self.extensions > LONGEST_EXTENSIONS {
            return Err(Refusal::bad("there are too many chunk extensions"));
        }
        Ok(state)
    }
}
