//! Responses that are made of a stored one: whole, a part, without a body, or 304 (RFC 9111 section 4.3.2).

use std::ops::Range;

use http::header::{
    ACCEPT_RANGES, AGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use super::freshness::date;
use super::stored::StoredResponse;
use crate::entity_tag::{self, Comparison};
use crate::files::RequestedRanges;
use crate::sendfile::names_file;
use crate::{Body, Response};

/// The headers of a request that a stored response answers by itself.
pub(super) const CONDITIONS: [HeaderName; 4] = [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE];

/// Answers a request with a stored response.
pub(super) fn respond(stored: &StoredResponse, method: &Method, request: &HeaderMap, now: Instant) -> Response {
    let is_ok = stored.status == StatusCode::OK;
    let mut response = if is_ok && is_not_modified(&stored.headers, request) {
        not_modified(stored.headers.clone())
    } else {
        let range = if is_ok && method == Method::GET { requested(stored, request) } else { RequestedRanges::Whole };
        content(stored, method, range)
    };
    response.headers_mut().insert(AGE, stored.age(now).into());
    response
}

/// Whether the client has this version already.
pub(super) fn is_not_modified(response: &HeaderMap, request: &HeaderMap) -> bool {
    if names_file(response) {
        // `sendfile` above asks the file.
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let lists = request.get_all(IF_NONE_MATCH).iter();
        return match response.get(ETAG) {
            Some(etag) => {
                let opaque = etag.as_bytes().strip_prefix(b"W/").unwrap_or(etag.as_bytes());
                lists.into_iter().any(|list| entity_tag::is_listed(list.as_bytes(), opaque, Comparison::Weak))
            }
            None => lists.into_iter().any(|list| list.as_bytes().trim_ascii() == b"*"),
        };
    }
    // Without a time of the last change, that of the response counts (RFC 9111 section 4.3.2).
    let changed = if response.contains_key(LAST_MODIFIED) { LAST_MODIFIED } else { DATE };
    date(request, IF_MODIFIED_SINCE).zip(date(response, changed)).is_some_and(|(since, changed)| changed <= since)
}

/// A 304 in place of a 200 with these headers. Those that describe the content are left out (RFC 9110 section 15.4.5).
pub(super) fn not_modified(mut headers: HeaderMap) -> Response {
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, ACCEPT_RANGES] {
        headers.remove(name);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.headers_mut() = headers;
    response
}

/// The parts that the client asks for, if it may have parts (RFC 9110 section 14.2).
fn requested(stored: &StoredResponse, request: &HeaderMap) -> RequestedRanges {
    let is_refused = stored.headers.get(ACCEPT_RANGES).is_some_and(|units| units == "none");
    let is_current = match request.get(IF_RANGE) {
        None => true,
        // A weak entity tag does not say that the octets are the same.
        Some(tag) if tag.as_bytes().starts_with(b"\"") => stored.headers.get(ETAG) == Some(tag),
        Some(_) => date(request, IF_RANGE).is_some_and(|known| date(&stored.headers, LAST_MODIFIED) == Some(known)),
    };
    // A range is one of the file that a response names.
    let is_elsewhere = names_file(&stored.headers);
    if !request.contains_key(RANGE) || is_refused || !is_current || stored.trailers.is_some() || is_elsewhere {
        return RequestedRanges::Whole;
    }
    RequestedRanges::of(request, stored.body.len() as u64)
}

/// The content or one part of it. Of several parts the whole is sent, which RFC 9110 section 14.2 permits.
fn content(stored: &StoredResponse, method: &Method, range: RequestedRanges) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.headers.clone();
    let length = stored.body.len();
    let body = match range {
        RequestedRanges::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
                response.headers_mut().remove(name);
            }
            state(&mut response, &format!("bytes */{length}"), 0);
            return response;
        }
        RequestedRanges::Parts(parts) => match single(&parts) {
            Some(part) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                state(&mut response, &format!("bytes {}-{}/{length}", part.start, part.end - 1), part.len());
                stored.body.slice(part)
            }
            None => stored.body.clone(),
        },
        RequestedRanges::Whole => stored.body.clone(),
    };
    if method != Method::HEAD {
        *response.body_mut() = match stored.trailers.clone() {
            None => body.into(),
            Some(trailers) => Body::new(Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers))))),
        };
    }
    response
}

fn state(response: &mut Response, range: &str, length: usize) {
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
}

fn single(parts: &[Range<u64>]) -> Option<Range<usize>> {
    match parts {
        [part] => Some(usize::try_from(part.start).ok()?..usize::try_from(part.end).ok()?),
        _ => None,
    }
}
