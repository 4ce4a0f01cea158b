//! Refuses response heads that hyper accepts: ambiguous framing (RFC 9112 section 6), and upgrades that were not offered.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, StatusCode, Version};

use crate::tunnel::key;
use crate::upstream::failure::Failure;

/// The part of a request that the check of its response needs.
pub(super) struct Asked {
    upgrade: Option<HeaderValue>,
    /// The key of a WebSocket, if it was not the client's: the client cannot check the answer to it.
    pub(super) key: Option<HeaderValue>,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self { upgrade: request.headers().get(UPGRADE).cloned(), key: None }
    }
}

/// Checks the head of a response.
pub(super) fn response<B>(response: &Response<B>, asked: &Asked) -> Result<(), Failure> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade(response, asked);
    }
    if !(200..600).contains(&status.as_u16()) {
        return Err(Failure::malformed(format!("status {} is not the status of an answer", status.as_u16())));
    }
    lengths(response.headers(), response.version())
}

fn lengths(headers: &HeaderMap, version: Version) -> Result<(), Failure> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Failure::malformed("more than one Content-Length"));
        }
        let octets = length.as_bytes();
        if octets.is_empty() || octets.len() > 19 || !octets.iter().all(u8::is_ascii_digit) {
            return Err(Failure::malformed("Content-Length is not one number"));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err(Failure::malformed("both Content-Length and Transfer-Encoding"));
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if version == Version::HTTP_2 {
            return Err(Failure::malformed("Transfer-Encoding in HTTP/2"));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Failure::malformed("a Transfer-Encoding other than `chunked`"));
        }
    }
    Ok(())
}

/// `101 Switching Protocols` must name an offered protocol (RFC 9110 section 7.8). A missing `Connection: upgrade` is tolerated: some servers omit it.
fn upgrade<B>(response: &Response<B>, asked: &Asked) -> Result<(), Failure> {
    let Some(offered) = &asked.upgrade else {
        return Err(Failure::malformed("101 Switching Protocols, which the request did not ask for"));
    };
    let named = response.headers().get(UPGRADE).map(|name| name.as_bytes().trim_ascii()).unwrap_or_default();
    let is_offered = offered.as_bytes().split(|octet| *octet == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(named));
    if named.is_empty() || !is_offered {
        return Err(Failure::malformed("101 Switching Protocols to another protocol than the request offered"));
    }
    if let Some(key) = &asked.key
        && response.headers().get(SEC_WEBSOCKET_ACCEPT) != Some(&key::accept(key))
    {
        return Err(Failure::malformed("101 Switching Protocols whose Sec-WebSocket-Accept does not answer the key of the request"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &[(&str, &str)]) -> bool {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        let request = Request::builder().header(UPGRADE, "h2c, WebSocket").body(()).unwrap();
        response(&answer.body(()).unwrap(), &Asked::of(&request)).is_err()
    }

    #[test]
    fn one_length_is_fine_and_anything_that_can_be_read_two_ways_is_not() {
        assert!(!refused(200, &[("content-length", "5")]));
        assert!(!refused(200, &[("transfer-encoding", "Chunked")]));
        for headers in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "")],
        ] {
            assert!(refused(200, headers), "{headers:?}");
        }
    }

    #[test]
    fn a_switch_is_to_what_was_offered() {
        assert!(!refused(101, &[("upgrade", "websocket")]));
        assert!(!refused(101, &[("upgrade", " H2C ")]));
        assert!(refused(101, &[("upgrade", "other")]));
        assert!(refused(101, &[]));
        for status in [600, 999] {
            assert!(refused(status, &[]));
        }
    }
}
