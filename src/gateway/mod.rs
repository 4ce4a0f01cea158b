//! The gateway protocols, in which front servers and apps speak CGI's variables (RFC 3875) to each other: FastCGI, SCGI and uwsgi.
//!
//! The codecs are pure: octets in, messages out, no sockets. Each serves both directions. [`Variables`] are what all of them carry, [`read_request`]
//! makes a request of them, and [`ResponseHead`] is the head of a response, which all of them write as CGI does.

pub(crate) mod back;
pub(crate) mod fastcgi;
pub(crate) mod front;
#[cfg(any(fuzzing, test))]
mod fuzz;
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

#[cfg(fuzzing)]
pub use fuzz::fuzz_gateway;
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
    /// They do not say how long the body is.
    NoLength(&'static str),
}

impl Malformed {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Syntax(reason) | Self::TooLarge(reason) | Self::NoLength(reason) => reason,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}
