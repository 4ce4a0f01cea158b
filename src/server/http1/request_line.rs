//! Request lines that hyper does not accept, and that other servers accept: how they are passed on to it.
//!
//! | received | passed on |
//! | --- | --- |
//! | `HTTP/1.2` and later | `HTTP/1.1`, which it is processed as (RFC 9110 section 2.5) |
//! | `"`, `<`, `>` and a backtick in the target | percent-encoded, as clients should have sent them (RFC 3986 section 2) |

use std::borrow::Cow;

/// The target with every octet percent-encoded that needs it.
pub(super) fn encoded(target: &[u8]) -> Cow<'_, [u8]> {
    if !target.iter().copied().any(is_encoded) {
        return Cow::Borrowed(target);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for octet in target {
        if is_encoded(*octet) {
            encoded.extend_from_slice(format!("%{octet:02X}").as_bytes());
        } else {
            encoded.push(*octet);
        }
    }
    Cow::Owned(encoded)
}

const fn is_encoded(octet: u8) -> bool {
    matches!(octet, b'"' | b'<' | b'>' | b'`')
}

/// The line as hyper accepts it. It has three parts.
pub(super) fn rewritten(line: &[u8]) -> Vec<u8> {
    let mut parts = line.splitn(3, |octet| *octet == b' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let version: &[u8] = if parts.next() == Some(b"HTTP/1.0") { b"HTTP/1.0" } else { b"HTTP/1.1" };
    [method, &encoded(target), version].join(&b' ')
}
