//! A response in the cache.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::control::members;
use super::freshness::{Freshness, unstorable};
use super::key::Selection;
use crate::hop_by_hop;

/// Names what a response is about, for `ziggurat purge --tag`: a list, as CDNs read it.
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a response costs beyond its octets: the structs, and what the allocator adds.
const OVERHEAD: u64 = 512;
/// The same of a header.
const HEADER_OVERHEAD: u64 = 96;

/// A whole response, as it goes to clients.
#[derive(Debug)]
pub(super) struct StoredResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) selection: Selection,
    pub(super) freshness: Freshness,
}

impl StoredResponse {
    /// Of the head of a response and its whole body. The octets are copied, because those of a response may be a part of a large buffer.
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[Bytes],
        trailers: Option<HeaderMap>,
        selection: Selection,
        freshness: Freshness,
    ) -> Self {
        let body = match body {
            [one] => Bytes::copy_from_slice(one),
            parts => parts.concat().into(),
        };
        let mut headers = stored_headers(headers);
        if trailers.is_none() && has_content(status) {
            headers.insert(CONTENT_LENGTH, body.len().into());
        } else {
            headers.remove(CONTENT_LENGTH);
        }
        Self { status, headers, body, trailers: trailers.as_ref().map(owned), selection, freshness }
    }

    /// The same response after a 304 with these headers (RFC 9111 section 4.3.4); `None` if the 304 is about another version.
    pub(super) fn freshened(&self, not_modified: &HeaderMap, asking: &Asking<'_>) -> Option<Freshened> {
        let is_other = |name: HeaderName| not_modified.get(&name).is_some_and(|value| self.headers.get(&name) != Some(value));
        if match not_modified.contains_key(ETAG) {
            true => is_other(ETAG),
            false => is_other(LAST_MODIFIED),
        } {
            return None;
        }
        let mut headers = self.headers.clone();
        let update = stored_headers(not_modified);
        // Those of the content belong to the stored octets (RFC 9111 section 3.2).
        let kept = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE];
        for name in update.keys().filter(|name| !kept.contains(name)) {
            headers.remove(name);
            for value in update.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(age) = not_modified.get(AGE) {
            headers.insert(AGE, age.clone());
        }
        let freshness = Freshness::new(self.status, &headers, asking.at, asking.heuristic);
        headers.remove(AGE);
        let may_store = unstorable(self.status, &headers, asking.is_personal, asking.heuristic).is_none();
        let selection = Selection::of(&headers, asking.headers)?;
        let response =
            Self { status: self.status, headers, body: self.body.clone(), trailers: self.trailers.clone(), selection, freshness };
        Some(Freshened { response, may_store })
    }

    /// What a 200 to HEAD says of this response (RFC 9111 section 4.3.5). Without a validator it says nothing: the content may be another one.
    pub(super) fn compared(&self, head: &HeaderMap) -> Compared {
        let known = [ETAG, LAST_MODIFIED, CONTENT_LENGTH, CONTENT_ENCODING]
            .map(|name| head.get(&name).map(|value| self.headers.get(name) == Some(value)));
        match known {
            _ if known.contains(&Some(false)) => Compared::Other,
            [None, None, ..] => Compared::Unknown,
            _ => Compared::Same,
        }
    }

    /// Whether the app can say that the response is still right.
    pub(super) fn has_validator(&self) -> bool {
        self.headers.contains_key(ETAG) || self.headers.contains_key(LAST_MODIFIED)
    }

    pub(super) fn has_tag(&self, tag: &str) -> bool {
        let mut tags = self.headers.get_all(CACHE_TAG).iter().flat_map(|line| members(line.as_bytes()));
        tags.any(|known| known == tag.as_bytes())
    }

    /// The memory that the response takes.
    pub(super) fn octets(&self) -> u64 {
        let headers = [Some(&self.headers), self.trailers.as_ref()].into_iter().flatten().flatten();
        let headers = headers.map(|(name, value)| HEADER_OVERHEAD + (name.as_str().len() + value.len()) as u64);
        OVERHEAD + self.body.len() as u64 + self.selection.octets() as u64 + headers.sum::<u64>()
    }

    pub(super) fn age(&self, now: Instant) -> u64 {
        self.freshness.age(now).as_secs()
    }
}

/// How the app was asked whether a stored response is still right.
pub(super) struct Asking<'a> {
    /// Those of the client's request.
    pub(super) headers: &'a HeaderMap,
    pub(super) is_personal: bool,
    pub(super) at: Instant,
    pub(super) heuristic: Duration,
}

/// A stored response with what the app has said of it since.
pub(super) struct Freshened {
    pub(super) response: StoredResponse,
    /// Whether it may still be stored: the app may have added a cookie, or `private`, for the client that asked.
    pub(super) may_store: bool,
}

/// Whether the head of a response is that of a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    Other,
    Unknown,
}

/// Whether a response with this status has content (RFC 9110 section 6.4.1).
fn has_content(status: StatusCode) -> bool {
    !(status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED))
}

/// The headers that are stored (RFC 9111 section 3.1), with the date on which the response was received if the app states none.
fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    let mut headers = owned(headers);
    hop_by_hop::remove_all(&mut headers);
    headers.remove(AGE);
    if !headers.contains_key(DATE)
        && let Ok(date) = httpdate::fmt_http_date(SystemTime::now()).try_into()
    {
        headers.insert(DATE, date);
    }
    headers
}

/// A copy with octets of its own: those of an app's head are parts of one buffer.
fn owned(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for value in headers.values_mut() {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
    headers
}
