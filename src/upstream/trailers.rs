//! Trailers that may be passed on (RFC 9110 section 6.5.1): not those that frame a message, route it or rule its connection.

use http::header::{self, HeaderMap, HeaderName};

/// Removes what must not stand in trailers.
pub(super) fn clean(trailers: &mut HeaderMap) {
    const FORBIDDEN: [HeaderName; 13] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
    ];
    for name in FORBIDDEN {
        trailers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        trailers.remove(name);
    }
}
