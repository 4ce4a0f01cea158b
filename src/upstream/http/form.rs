//! Converts a request head, which has a path as target and a `Host` header, to the form of each version of HTTP.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Parts, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use ziggurat_middleware::{BoxError, Scheme};

use crate::tunnel::key;
use crate::upstream::failure::{Failure, FailureKind, FailurePhase};

/// Whether the request asks for a WebSocket.
pub(super) fn is_websocket<B>(request: &Request<B>) -> bool {
    let mut protocols = request.headers().get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

const WEBSOCKET: &str = "websocket";

/// Gives a request for a WebSocket a key of its own, if it has none. Returns whether it had none.
pub(super) fn add_key<B>(request: &mut Request<B>) -> bool {
    let is_missing = is_websocket(request) && !request.headers().contains_key(SEC_WEBSOCKET_KEY);
    if is_missing {
        request.headers_mut().insert(SEC_WEBSOCKET_KEY, key::generate());
    }
    is_missing
}

/// For HTTP/1.1. hyper sends no body of unknown length with GET and HEAD, unless the head has `Transfer-Encoding: chunked`.
pub(super) fn http1<B: Body>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    let is_unknown = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    if is_unknown && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if request.headers().contains_key(TE) {
        // RFC 9110 section 10.1.4: `Connection` has to name `TE`.
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// For HTTP/2 (RFC 9113 sections 8.2.2 and 8.3.1): the host is part of the target, and there are no connection-specific headers. A request for a WebSocket becomes
/// an extended CONNECT (RFC 8441 section 5), which needs no key.
pub(super) fn http2<B>(request: &mut Request<B>, scheme: Scheme) -> Result<(), Failure> {
    *request.version_mut() = Version::HTTP_2;
    if is_websocket(request) {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
        request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    }
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let host = request.headers_mut().remove(HOST);
    let mut parts = Parts::default();
    parts.scheme = Some(match scheme {
        Scheme::Http => http::uri::Scheme::HTTP,
        Scheme::Https => http::uri::Scheme::HTTPS,
    });
    let authority = host.as_ref().map_or(&b"localhost"[..], HeaderValue::as_bytes);
    parts.authority = Some(Authority::try_from(authority).map_err(unsent)?);
    parts.path_and_query = Some(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).map_err(unsent)?;
    Ok(())
}

/// The response that accepts an extended CONNECT, as it is over HTTP/1.1.
pub(super) fn switched<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::OK && response.extensions().get::<OnUpgrade>().is_some() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
}

fn unsent(error: impl Into<BoxError>) -> Failure {
    Failure::new(FailureKind::Unsent, FailurePhase::Head, error)
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::Body as AnyBody;

    use super::*;

    #[test]
    fn in_http2_the_host_is_part_of_the_target() {
        let mut request =
            Request::get("/a?b").header("host", "app:9000").header("connection", "upgrade").header("upgrade", "x").body(()).unwrap();
        http2(&mut request, Scheme::Https).unwrap();
        assert_eq!(request.uri(), "https://app:9000/a?b");
        assert!(request.headers().is_empty());
    }

    #[test]
    fn in_http2_a_websocket_is_an_extended_connect_without_a_key() {
        let request = || Request::get("/a").header("host", "app").header("upgrade", "WebSocket").header("sec-websocket-version", "13");
        let mut mine = request().body(()).unwrap();
        assert!(add_key(&mut mine) && mine.headers().contains_key(SEC_WEBSOCKET_KEY));
        assert!(!add_key(&mut mine) && !add_key(&mut Request::get("/").body(()).unwrap()));
        http2(&mut mine, Scheme::Http).unwrap();
        assert_eq!((mine.method(), mine.extensions().get::<Protocol>().unwrap().as_str()), (&Method::CONNECT, "websocket"));
        assert_eq!(mine.headers().keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["sec-websocket-version"]);
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_and_one_that_is_empty_is_not() {
        let chunked = |body: AnyBody| {
            let mut request = Request::get("/").body(body).unwrap();
            http1(&mut request);
            request.headers().contains_key(TRANSFER_ENCODING)
        };
        assert!(!chunked(AnyBody::empty()) && !chunked(AnyBody::from("known")));
        let stream = http_body_util::StreamBody::new(futures_util::stream::pending::<Result<_, std::io::Error>>());
        assert!(chunked(AnyBody::new(http_body_util::BodyExt::map_frame(stream, |frame: http_body::Frame<bytes::Bytes>| frame))));
    }
}
