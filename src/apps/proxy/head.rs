//! The heads of forwarded messages (RFC 9110 section 7.6).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use ziggurat_middleware::forwarded::is_claim;
use ziggurat_middleware::{EarlyHints, Problem, Response, Upgrade, hop_by_hop};

use super::forward;
use super::options::{Forward, HostPolicy};
use crate::upstream::Endpoint;
use crate::upstream::http::Http;

/// How request heads are changed.
pub(super) struct HeadPolicy {
    pub(super) host: HostPolicy,
    pub(super) forward: Forward,
}

/// The name of this program in `Via`.
const PSEUDONYM: &str = "ziggurat";

/// The most headers that are added to a request.
const ADDED: usize = 12;

/// After so many hops through this program a request is in a loop.
const MOST_HOPS: usize = 10;

impl HeadPolicy {
    /// The head for an endpoint. `upgrade` is the one that the client asks for.
    pub(super) fn request(&self, parts: &Parts, endpoint: &Endpoint<Http>, has_body: bool, upgrade: Option<&Upgrade>) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target(&endpoint.target.path, &parts.uri);
        let mut headers = HeaderMap::with_capacity(parts.headers.len() + ADDED);
        for (name, value) in parts.headers.iter().filter(|(name, _)| passes(name) && !is_claim(name)) {
            headers.append(name.clone(), value.clone());
        }
        forward::apply(self.forward, parts, &mut headers);
        match &self.host {
            HostPolicy::Fixed(host) => _ = headers.insert(header::HOST, host.clone()),
            HostPolicy::Keep if headers.contains_key(header::HOST) => {}
            HostPolicy::Keep | HostPolicy::Upstream => _ = headers.insert(header::HOST, endpoint.authority.clone()),
        }
        if takes_trailers(&parts.headers) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if !has_body {
            headers.remove(header::EXPECT);
            headers.remove(header::TRAILER);
        }
        if let Some(upgrade) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            for protocols in upgrade.values() {
                headers.append(header::UPGRADE, protocols.clone());
            }
            if parts.version == http::Version::HTTP_2 {
                // It is not the client's. Each attempt gets one of its own.
                headers.remove(header::SEC_WEBSOCKET_KEY);
            }
        }
        headers.append(header::VIA, via(parts.version));
        *request.headers_mut() = headers;
        if let Some(hints) = EarlyHints::of(&parts.extensions) {
            request.extensions_mut().insert(hints.clone());
        }
        request
    }
}

/// Changes the head of a response for the client.
pub(super) fn response(headers: &mut HeaderMap) {
    hop_by_hop::remove_named_by_connection(headers);
    let names: Vec<HeaderName> = headers.keys().filter(|name| !passes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Refuses a request that came through this server too often.
pub(super) fn in_a_loop(headers: &HeaderMap) -> Result<(), Problem> {
    if !goes_in_circles(headers) {
        return Ok(());
    }
    let problem = Problem::new(StatusCode::LOOP_DETECTED).detail("the request is in a loop");
    Err(problem.because("`Via` names this server ten times"))
}

/// Counts a hop of a request that may only go so far (`Max-Forwards` of OPTIONS and TRACE, RFC 9110 section 7.6.2). The answer to one that may go no further.
pub(super) fn last_hop(request: &mut ziggurat_middleware::Request) -> Result<Option<Response>, Problem> {
    if !matches!(*request.method(), Method::OPTIONS | Method::TRACE) {
        return Ok(None);
    }
    let Some(left) = request.headers().get(header::MAX_FORWARDS) else { return Ok(None) };
    let Some(left) = left.to_str().ok().and_then(|left| left.parse::<u32>().ok()) else { return Ok(None) };
    if left > 0 {
        request.headers_mut().insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
        return Ok(None);
    }
    if *request.method() == Method::TRACE {
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED).detail("the request may go no further, and is not reflected here"));
    }
    let mut answer = Response::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(Some(answer))
}

/// Whether `Via` shows a loop.
fn goes_in_circles(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::VIA).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter(|hop| hop.trim().ends_with(PSEUDONYM)).count() >= MOST_HOPS
}

fn via(version: http::Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        http::Version::HTTP_2 => "2 ziggurat",
        http::Version::HTTP_10 => "1.0 ziggurat",
        _ => "1.1 ziggurat",
    })
}

/// Whether a header goes further than one connection. `Trailer` does: trailers pass, and HTTP/1.1 sends only announced ones.
fn passes(name: &HeaderName) -> bool {
    !hop_by_hop::contains(name) || *name == header::TRAILER
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// The request target: the path of the server's URL, then the path of the request.
fn target(base: &str, uri: &Uri) -> Uri {
    let own = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if base.is_empty() {
        return Uri::from(own);
    }
    let path = if own.as_str().starts_with('/') { format!("{base}{own}") } else { format!("{base}/{own}") };
    // Two valid paths make a valid path.
    PathAndQuery::try_from(path).map_or_else(|_| Uri::from(own), Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_belongs_to_the_upstreams_connection_ends_with_it() {
        let mut left = headers(&[
            ("connection", "close, X-A"),
            ("x-a", "1"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("trailer", "x-t"),
            ("x-b", "2"),
        ]);
        response(&mut left);
        assert_eq!(left, headers(&[("trailer", "x-t"), ("x-b", "2")]));
    }

    #[test]
    fn the_path_of_the_server_stands_before_that_of_the_request() {
        for (base, uri, expected) in
            [("", "/a?b", "/a?b"), ("/v2", "/a?b", "/v2/a?b"), ("/v2", "/", "/v2/"), ("", "*", "*"), ("/v2", "*", "/v2/*")]
        {
            assert_eq!(target(base, &uri.parse().unwrap()), expected);
        }
    }

    #[test]
    fn requests_that_may_only_go_so_far_are_counted() {
        let hop = |method: &str, left: &str| {
            let mut request = ziggurat_middleware::request(method.parse().unwrap(), "/", ziggurat_middleware::Body::empty());
            request.headers_mut().insert("max-forwards", left.parse().unwrap());
            let answer = last_hop(&mut request);
            let left = request.headers()["max-forwards"].to_str().unwrap().to_owned();
            (answer.map(|answer| answer.map(|answer| answer.status().as_u16())).map_err(|problem| problem.status().as_u16()), left)
        };
        let passes = |left: &str| (Ok(None), left.to_owned());
        assert_eq!(hop("OPTIONS", "5"), passes("4"));
        assert_eq!(hop("TRACE", "1"), passes("0"));
        assert_eq!(hop("OPTIONS", "0").0, Ok(Some(204)));
        assert_eq!(hop("TRACE", "0").0, Err(501));
        assert_eq!(hop("GET", "0"), passes("0"));
        assert_eq!(hop("OPTIONS", "-1"), passes("-1"));
    }

    #[test]
    fn a_request_that_came_ten_times_goes_in_circles() {
        let hops = |n| headers(&[("via", &vec!["1.1 ziggurat"; n].join(", "))]);
        assert!(!goes_in_circles(&hops(9)) && goes_in_circles(&hops(10)));
        assert!(!goes_in_circles(&headers(&[("via", "1.1 a, 1.1 b")])));
    }
}
