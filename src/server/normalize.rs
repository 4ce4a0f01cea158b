//! Requests as every layer can rely on them, and responses as every client can.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, StatusCode, Version};
use http_body::Body as _;
use ziggurat_middleware::{Problem, RequestSummary, Response, hop_by_hop};

use super::http1::fields;
use super::refusal::Refusal;
use crate::reason;

/// Gives a request its normal form: the target is a path, there is one valid `Host` (or none in HTTP/1.0), and no header is named by `Connection` or
/// can shadow another in a CGI environment.
pub(super) fn normalize(parts: &mut Parts, max_headers: usize) -> Result<(), Refusal> {
    if is_multiplexed(parts.version) {
        join_cookies(&mut parts.headers);
        check_multiplexed(parts, max_headers)?;
    }
    if parts.uri.authority().is_some() {
        let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
        fields::host(authority.as_bytes())?;
        let host = HeaderValue::from_str(authority).map_err(|_| Refusal::bad("the host has a character that is not allowed there"))?;
        parts.headers.insert(HOST, host);
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        // `http://host?query` has no path.
        let path = if path.as_str().starts_with('?') { path.to_string().parse().unwrap_or(path) } else { path };
        parts.uri = Uri::from(path);
    }
    hop_by_hop::remove_named_by_connection(&mut parts.headers);
    remove_ambiguous(&mut parts.headers);
    Ok(())
}

/// Whether a connection carries many requests of this version at once: from HTTP/2 on.
pub(super) fn is_multiplexed(version: Version) -> bool {
    version >= Version::HTTP_2
}

/// Applies the rules that HTTP/1 heads have already passed.
fn check_multiplexed(parts: &Parts, max_headers: usize) -> Result<(), Refusal> {
    if parts.headers.len() > max_headers {
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers"));
    }
    // h2 refuses these itself.
    if parts.version == Version::HTTP_3 {
        check_connection_specific(&parts.headers)?;
    }
    if parts.uri.path() == "*" && parts.method != http::Method::OPTIONS {
        return Err(Refusal::bad("only OPTIONS has `*` as its target"));
    }
    if parts.headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "the only supported expectation is `100-continue`"));
    }
    if parts.headers.values().any(|value| is_padded(value.as_bytes())) {
        return Err(Refusal::bad("the value of a header begins or ends with white space"));
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        fields::content_length(length.as_bytes())?;
        if lengths.next().is_some() {
            return Err(Refusal::bad("there is more than one Content-Length"));
        }
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (parts.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Err(Refusal::bad("there is more than one Host")),
        (None, None, _) => Err(Refusal::bad("there is neither :authority nor Host")),
        (None, Some(host), _) => fields::host(host.as_bytes()),
        (Some(authority), Some(host), _) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            Err(Refusal::bad(":authority and Host differ"))
        }
        _ => Ok(()),
    }
}

/// Whether a value has white space around it, which HTTP/1 strips and HTTP/2 has not (RFC 9113 section 8.2.1).
fn is_padded(value: &[u8]) -> bool {
    [value.first(), value.last()].into_iter().flatten().any(|octet| matches!(octet, b' ' | b'\t'))
}

/// Refuses fields that are about a connection of HTTP/1 (RFC 9114 section 4.2).
fn check_connection_specific(headers: &HeaderMap) -> Result<(), Refusal> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    let names = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE];
    if names.iter().any(|name| headers.contains_key(name)) || headers.get_all(TE).iter().any(|value| value != "trailers") {
        return Err(Refusal::bad("there is a header that HTTP/3 does not have, because it is about a connection of HTTP/1"));
    }
    Ok(())
}

/// Joins the `Cookie` fields that HTTP/2 and HTTP/3 may split (RFC 9113 section 8.2.3, RFC 9114 section 4.2.1).
fn join_cookies(headers: &mut HeaderMap) {
    let fields: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if fields.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&fields.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Removes headers with an underscore in the name, which have the same name in a CGI environment as those with a hyphen, and `Proxy`, which becomes
/// `HTTP_PROXY` (RFC 3875 section 4.1.18; CVE-2016-5385).
fn remove_ambiguous(headers: &mut HeaderMap) {
    const PROXY: &str = "proxy";
    let ambiguous = |name: &&HeaderName| name.as_str() == PROXY || name.as_str().contains('_');
    while let Some(name) = headers.keys().find(ambiguous).cloned() {
        headers.remove(name);
    }
}

/// Makes a response's head and body agree, whatever the stack returned. Framing is up to the server. A 101 is not handled here: see
/// [`upgrade`](super::upgrade).
pub(super) fn finish(response: &mut Response, is_head: bool, summary: Option<&RequestSummary>) {
    let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
    if response.status().is_informational() {
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                tracing::error!(
                    request_id,
                    request,
                    "the stack accepted an upgrade that the request did not offer, or did not answer its `Sec-WebSocket-Key`"
                )
            }
            status => tracing::error!(request_id, request, "the stack responded with {}, which is not a final status", status.as_u16()),
        }
        *response = Problem::new(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    }
    reason::check(response);
    response.headers_mut().remove(TRANSFER_ENCODING);
    let known = response.body().size_hint().exact();
    let status = response.status();
    if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        let body = std::mem::take(response.body_mut());
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            // The framing of a 205 says that there is nothing (RFC 9110 section 15.3.6).
            response.headers_mut().remove(CONTENT_LENGTH);
        } else if is_head && let Some(length @ 1..) = known {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
        }
        drop(body);
        return;
    }
    let mut stated = response.headers().get_all(CONTENT_LENGTH).iter();
    if let Some(length) = stated.next() {
        let length = if stated.next().is_some() { None } else { fields::content_length(length.as_bytes()).ok() };
        if length.is_none() || known.is_some_and(|known| Some(known) != length) {
            tracing::error!(request_id, request, "the `Content-Length` of a response is not the length of its body");
            response.headers_mut().remove(CONTENT_LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use ziggurat_middleware::Body;

    use super::*;

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_of_an_absolute_target_counts() {
        let mut parts = parts(Request::builder().uri("http://b.example:81?x=1").header("host", "a.example"));
        normalize(&mut parts, 100).unwrap();
        assert_eq!((parts.uri.to_string().as_str(), &parts.headers["host"]), ("/?x=1", &HeaderValue::from_static("b.example:81")));
    }

    #[test]
    fn headers_that_connection_names_are_removed() {
        let mut parts = parts(Request::builder().uri("/").header("connection", "close, x-a").header("x-a", "1").header("x-b", "2"));
        normalize(&mut parts, 100).unwrap();
        assert_eq!(parts.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["connection", "x-b"]);
    }

    #[test]
    fn headers_that_shadow_others_are_removed() {
        let mut parts = parts(Request::builder().uri("/").header("x_a", "1").header("x-a", "2").header("proxy", "3").header("_", "4"));
        normalize(&mut parts, 100).unwrap();
        assert_eq!(parts.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn http2_needs_one_host_and_gives_one_cookie() {
        let request = || Request::builder().version(Version::HTTP_2);
        let mut ok = parts(request().uri("http://a/b").header("cookie", "a=1").header("cookie", "b=2"));
        normalize(&mut ok, 100).unwrap();
        assert_eq!((&ok.headers["host"], &ok.headers["cookie"]), (&HeaderValue::from_static("a"), &HeaderValue::from_static("a=1; b=2")));
        let at = || request().uri("http://a/");
        for (broken, status) in [
            (request().uri("/"), 400),
            (at().header("host", "b"), 400),
            (request().uri("/").header("host", "a").header("host", "a"), 400),
            (request().uri("*").header("host", "a"), 400),
            (at().header("content-length", "1").header("content-length", "1"), 400),
            (at().header("content-length", "+1"), 400),
            (at().header("expect", "200-ok"), 417),
            (at().header("x-a", " 1"), 400),
            (at().header("x-a", "1\t"), 400),
        ] {
            assert_eq!(normalize(&mut parts(broken), 100).unwrap_err().status, status);
        }
        let many = (0..300).fold(at(), |request, nth| request.header("cookie", format!("c{nth}=1")));
        normalize(&mut parts(many), 1).unwrap();
        normalize(&mut parts(request().method("OPTIONS").uri("*").header("host", "a").header("expect", "100-Continue")), 100).unwrap();
    }

    #[test]
    fn http3_has_no_headers_about_connections() {
        let request = || Request::builder().version(Version::HTTP_3).uri("https://a/");
        for (name, value) in [
            ("connection", "x"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "gzip"),
        ] {
            assert_eq!(normalize(&mut parts(request().header(name, value)), 100).unwrap_err().status, 400);
        }
        normalize(&mut parts(request().header("te", "trailers")), 100).unwrap();
        assert_eq!(normalize(&mut parts(request().header("content-length", "+1")), 100).unwrap_err().status, 400);
    }

    #[test]
    fn a_content_length_that_is_not_the_bodys_is_removed() {
        let settled = |is_head, status: u16, length: &str| {
            let mut response = http::Response::builder().status(status).header("content-length", length).body(Body::from("abc")).unwrap();
            finish(&mut response, is_head, None);
            (
                response.headers().get(CONTENT_LENGTH).map(|length| length.to_str().unwrap().to_owned()),
                response.body().as_full().unwrap().len(),
            )
        };
        assert_eq!(settled(false, 200, "3"), (Some("3".to_owned()), 3));
        assert_eq!(settled(false, 200, "4"), (None, 3));
        assert_eq!(settled(false, 200, "x"), (None, 3));
        assert_eq!(settled(true, 200, "4"), (Some("4".to_owned()), 0));
        assert_eq!(settled(false, 204, "3"), (None, 0));
        assert_eq!(settled(false, 205, "3"), (None, 0));
        assert_eq!(settled(false, 304, "9"), (Some("9".to_owned()), 0));
    }
}
