//! Syntax of the parts of a head (RFC 9110, RFC 9112, RFC 3986).

use std::net::Ipv6Addr;

use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};

use crate::server::refusal::Refusal;

/// Splits a field line without its line end into name and value, without the whitespace around the value.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Refusal::bad("a header line starts with whitespace"));
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(Refusal::bad("a header line has no colon"));
    };
    let (name, value) = line.split_at(colon);
    if !is_token(name) {
        return Err(Refusal::bad("a header name is empty or has a character that is not allowed there"));
    }
    Ok((name, trim(&value[1..])))
}

/// Whether the octets are a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(octets: &[u8]) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut octet = 0;
        while octet < 128 {
            table[octet] = (octet as u8).is_ascii_alphanumeric();
            octet += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    !octets.is_empty() && octets.iter().all(|octet| TOKEN[usize::from(*octet)])
}

/// Whether any octet is a control character other than the tab.
pub(crate) fn has_control(octets: &[u8]) -> bool {
    // Without an early return the compiler vectorizes the loop.
    octets.iter().fold(false, |found, octet| found | (*octet < b' ' && *octet != b'\t') | (*octet == 0x7f))
}

/// The value of a `Content-Length`: digits only (RFC 9110 section 8.6).
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::bad("Content-Length is not one whole number"));
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let length = value.iter().try_fold(0, add).filter(|length| i64::try_from(*length).is_ok());
    length.ok_or(Refusal::bad("Content-Length is too large"))
}

/// The `Content-Length` that is to be kept. [`normalize`](crate::server::normalize) says what is wrong with several, or with a malformed one.
pub(crate) fn stated_length(headers: &HeaderMap) -> Option<u64> {
    content_length(headers.get(CONTENT_LENGTH)?.as_bytes()).ok()
}

/// Checks that a `Transfer-Encoding` is `chunked` and nothing else (RFC 9112 section 6.1).
pub(crate) fn transfer_encoding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let codings = || value.split(|octet| *octet == b',').map(trim);
    let before_last = codings().count().saturating_sub(1);
    if !codings().all(is_token) || codings().take(before_last).any(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        return Err(Refusal::bad("Transfer-Encoding is malformed, or `chunked` is not its last coding"));
    }
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "the only supported Transfer-Encoding is `chunked`"))
}

/// Checks a `Host` or the authority of a URL: a registered name or an address, and an optional port (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
pub(crate) fn host(value: &[u8]) -> Result<(), Refusal> {
    let (host_is_sound, port) = match value.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest) {
            Some(end) => (std::str::from_utf8(&rest[..end]).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()), &rest[end + 1..]),
            None => (false, &[][..]),
        },
        None => {
            let (name, port) = value.split_at(memchr::memchr(b':', value).unwrap_or(value.len()));
            (!name.is_empty() && is_registered_name(name), port)
        }
    };
    let port_is_sound = match port.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && content_length(if digits.is_empty() { b"0" } else { digits }).is_ok_and(|port| port <= 65_535),
        None => port.is_empty(),
    };
    if host_is_sound && port_is_sound { Ok(()) } else { Err(Refusal::bad("the host is not a name or an address with an optional port")) }
}

/// Unreserved characters, sub-delimiters and escapes of an octet.
fn is_registered_name(mut name: &[u8]) -> bool {
    const fn is_plain(octet: u8) -> bool {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
    }
    while let Some(at) = name.iter().position(|octet| !is_plain(*octet)) {
        match &name[at..] {
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => name = rest,
            _ => return false,
        }
    }
    true
}

/// Checks a request target. Returns whether it names a host, which replaces `Host` then (RFC 9112 section 3.2).
pub(crate) fn target(method: &[u8], target: &[u8]) -> Result<bool, Refusal> {
    if target.len() > LONGEST_TARGET {
        return Err(TARGET_TOO_LONG);
    }
    if method == b"CONNECT" {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported"));
    }
    match target {
        [b'/', ..] => path(target).map(|()| false),
        b"*" if method == b"OPTIONS" => Ok(false),
        _ => {
            let rest = strip_scheme(target).ok_or(Refusal::bad("the request target is neither a path nor an http URL"))?;
            let (authority, rest) = rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()));
            host(authority)?;
            if !rest.is_empty() {
                path(rest)?;
            }
            Ok(true)
        }
    }
}

/// The limit of `http::Uri`.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

pub(crate) const TARGET_TOO_LONG: Refusal = Refusal::new(StatusCode::URI_TOO_LONG, "the request target is too long");

fn path(path: &[u8]) -> Result<(), Refusal> {
    let usual = |octet: &u8| octet.is_ascii_alphanumeric() || b"/-._~?&=%+,;:@!$'()*".contains(octet);
    // Unusual characters are left to the parser that reads the target later.
    if path.iter().all(usual) || (!path.contains(&b'#') && PathAndQuery::try_from(path).is_ok()) {
        return Ok(());
    }
    Err(Refusal::bad("the request target has a character that is not allowed there"))
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    let strip = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    strip(b"http://").or_else(|| strip(b"https://"))
}

/// Removes spaces and tabs around the octets.
fn trim(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for sound in
            ["a", "a.example:80", "127.0.0.1", "[::1]", "[::1]:8000", "a_b", "a:", "A-b.c", "0.0.0.0=5000", "a!$&'()*+,;=~b", "a%20b"]
        {
            assert!(host(sound.as_bytes()).is_ok(), "{sound}");
        }
        for broken in [
            "", ":80", "a b", "a\"b", "u@a", "a:b", "a:123456", "a:65536", "a:+1", "[::1", "[::1]x", "[a]", "a/b", "a:80:80", "a%2",
            "a%zz", "a\\b", "a?b", "a#b", "a<b", "\u{e9}",
        ] {
            assert!(host(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn lengths_are_digits_alone() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"9223372036854775807"), Ok(9_223_372_036_854_775_807));
        for broken in ["", "+1", "-1", "1 1", "0x1", "1,1", "9223372036854775808", "99999999999999999999999"] {
            assert!(content_length(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn only_chunked_is_supported() {
        assert!(transfer_encoding(b"ChunKed").is_ok());
        for (value, status) in [
            ("gzip", 501),
            ("identity", 501),
            ("gzip, chunked", 501),
            ("chunked, gzip", 400),
            ("chunked,chunked", 400),
            ("chunked;q=1", 400),
            ("", 400),
            ("chunked,", 400),
        ] {
            assert_eq!(transfer_encoding(value.as_bytes()).unwrap_err().status, status, "{value}");
        }
    }

    #[test]
    fn targets_are_paths_or_urls() {
        assert_eq!(target(b"GET", b"/a?b={}|[]"), Ok(false));
        assert_eq!(target(b"GET", b"/\xc3\xa9"), Ok(false));
        assert_eq!(target(b"GET", b"HTTP://a.example:80?x"), Ok(true));
        assert_eq!(target(b"OPTIONS", b"*"), Ok(false));
        for broken in [&b"*"[..], b"a.example:80", b"ftp://a/", b"http://u@a/", b"http:///x", b"/a#b", b"a", b"/\xff", b""] {
            assert_eq!(target(b"GET", broken).unwrap_err().status, 400, "{broken:?}");
        }
        assert_eq!(target(b"CONNECT", b"a:80").unwrap_err().status, 501);
    }
}
