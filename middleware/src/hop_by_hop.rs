//! Header fields that end at a connection (RFC 9110 section 7.6.1), and which headers of a request go on to an app or another server.

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName};

use crate::forwarded::is_claim;

/// Whether a header concerns a single connection and not the message. The name is in lower case, as that of every [`HeaderName`] is.
///
/// These are the fields that RFC 9110 section 7.6.1 names, with those that were in use before it: `Proxy-Authenticate` and `Proxy-Authorization`
/// (RFC 2616 section 13.5.1), `Trailer`, and `HTTP2-Settings` (RFC 7540 section 3.2.1).
#[must_use]
pub fn contains(name: impl AsRef<str>) -> bool {
    matches!(
        name.as_ref(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a header of a request goes on to an app or another server: hop-by-hop headers do not, and neither do the claims of proxies
/// ([`is_claim`]) in a request whose [`ConnectionInfo`](crate::ConnectionInfo) is not vetted.
#[must_use]
pub fn goes_on(name: &HeaderName, is_vetted: bool) -> bool {
    !contains(name) && (is_vetted || !is_claim(name))
}

/// Removes the headers that `Connection` names, as RFC 9110 section 7.6.1 demands of whoever receives them. `Connection` itself stays.
///
/// This belongs before any layer: later a client could remove headers that a layer has set. `Host`, `Content-Length`, other hop-by-hop headers and the
/// claims of proxies stay, too: a client could otherwise hide its address behind a proxy that passes its `Connection` on.
pub fn remove_named_by_connection(headers: &mut HeaderMap) {
    let values: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    let options = values.iter().flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    for name in options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()) {
        if name != HOST && name != CONTENT_LENGTH && !contains(&name) && !is_claim(&name) {
            headers.remove(name);
        }
    }
}

/// Removes the headers that `Connection` names, and all hop-by-hop headers, as whoever passes a response on must.
pub fn remove_all(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    let names: Vec<_> = headers.keys().filter(|name| contains(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_connection_names_is_removed_whichever_line_names_it() {
        let mut headers =
            headers(&[("connection", ""), ("connection", "keep-alive, X-A ,,x-b"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("x-c", "4")]);
        remove_named_by_connection(&mut headers);
        assert_eq!(names(&headers), ["connection", "x-c"]);
    }

    #[test]
    fn nothing_that_ends_at_a_connection_passes() {
        let mut headers = headers(&[("connection", "x-a"), ("x-a", "1"), ("keep-alive", "timeout=5"), ("te", "trailers"), ("x-b", "2")]);
        remove_all(&mut headers);
        assert_eq!(names(&headers), ["x-b"]);
    }

    #[test]
    fn a_client_cannot_remove_what_frames_a_message_or_tells_of_it() {
        let mut headers = headers(&[
            ("connection", "host, content-length, transfer-encoding, x-forwarded-for, forwarded, upgrade, not a name"),
            ("host", "test"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("upgrade", "websocket"),
        ]);
        remove_named_by_connection(&mut headers);
        assert_eq!(headers.len(), 7);
    }

    #[test]
    fn claims_go_on_where_they_are_vetted_and_hop_by_hop_headers_never() {
        let goes_on = |name, is_vetted| goes_on(&HeaderName::from_static(name), is_vetted);
        assert_eq!((goes_on("x-forwarded-for", false), goes_on("x-forwarded-for", true)), (false, true));
        assert_eq!((goes_on("te", false), goes_on("te", true)), (false, false));
        assert_eq!((goes_on("cookie", false), goes_on("cookie", true)), (true, true));
    }
}
