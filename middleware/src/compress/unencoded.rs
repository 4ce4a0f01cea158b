//! Why a response is not compressed.

use std::fmt;

use http::{HeaderValue, StatusCode};

use crate::units::Size;

/// Why a response is not compressed for a client that would accept it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unencoded<'r> {
    /// Responses with this status have no body, or a part of one.
    Status(StatusCode),
    /// The body has so many octets, and the option `above` is more.
    Small(u64, Size),
    /// There is no `Content-Type`.
    NoType,
    /// It has this `Content-Encoding` already.
    Encoded(&'r HeaderValue),
    /// It is a part of a body.
    Part,
    /// The media type is not in the option `types`.
    Type(&'r HeaderValue),
    /// `Cache-Control: no-transform`.
    NoTransform,
}

impl fmt::Display for Unencoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        match self {
            Self::Status(status) => write!(f, "the status is {}", status.as_u16()),
            Self::Small(len, above) => write!(f, "the body has {len} octets, and `above` is {above}"),
            Self::NoType => f.write_str("there is no `content-type`"),
            Self::Encoded(encoding) => write!(f, "it is encoded already, with `{}`", text(encoding)),
            Self::Part => f.write_str("it is a part of a body"),
            Self::Type(media_type) => write!(f, "`{}` is not in `types`", text(media_type)),
            Self::NoTransform => f.write_str("`cache-control: no-transform` forbids it"),
        }
    }
}
