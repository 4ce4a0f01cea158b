//! The gateway protocols, in which front servers and apps speak CGI's variables (RFC 3875) to each other: FastCGI, SCGI and uwsgi.
//!
//! The codecs are pure: octets in, messages out, no sockets. Each serves both directions. [`Variables`] are what all of them carry, [`read_request`]
//! makes a request of them, and [`ResponseHead`] is the head of a response, which all of them write as CGI does.

pub(crate) mod back;
pub(crate) mod fastcgi;
pub(crate) mod front;
mod request;
mod response_head;
pub(crate) mod scgi;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod uwsgi;
mod variables;

use std::fmt;

pub(crate) use request::read_request;
pub(crate) use response_head::{ResponseHead, StatusForm};
pub(crate) use variables::Variables;

/// Why octets are no message of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They violate the protocol.
    Syntax(&'static str),
    /// They are longer than they may be.
    TooLarge(&'static str),
}

impl Malformed {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Syntax(reason) | Self::TooLarge(reason) => reason,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}

/// Reads octets as each protocol, whole and in pieces whose size is the first octet. Panics if the results differ.
#[cfg(fuzzing)]
pub fn fuzz_gateway(octets: &[u8]) {
    use bytes::BytesMut;

    fn read<T>(
        octets: &[u8],
        size: usize,
        mut take: impl FnMut(&mut BytesMut) -> Result<Option<T>, Malformed>,
    ) -> Vec<Result<T, Malformed>> {
        let (mut held, mut found) = (BytesMut::new(), Vec::new());
        for piece in octets.chunks(size.max(1)) {
            held.extend_from_slice(piece);
            loop {
                match take(&mut held) {
                    Ok(Some(message)) => found.push(Ok(message)),
                    Ok(None) => break,
                    Err(malformed) => {
                        found.push(Err(malformed));
                        return found;
                    }
                }
            }
        }
        found
    }
    let Some((size, octets)) = octets.split_first() else { return };
    let (size, most) = (usize::from(*size), 1 << 10);
    let whole = octets.len();
    let packets = read(octets, size, |held| uwsgi::take(held, most));
    assert_eq!(packets, read(octets, whole, |held| uwsgi::take(held, most)));
    let netstrings = read(octets, size, |held| scgi::take(held, most));
    assert_eq!(netstrings, read(octets, whole, |held| scgi::take(held, most)));
    let records = read(octets, size, fastcgi::Record::take);
    assert_eq!(records, read(octets, whole, fastcgi::Record::take));
    let heads = read(octets, size, |held| ResponseHead::take(held, most));
    assert_eq!(heads, read(octets, whole, |held| ResponseHead::take(held, most)));
    let variables = packets.into_iter().flatten().map(|packet| packet.variables).chain(netstrings.into_iter().flatten());
    for variables in variables.chain(fastcgi::pairs::read(&octets.to_vec().into())) {
        let _ = read_request(&variables);
    }
}
