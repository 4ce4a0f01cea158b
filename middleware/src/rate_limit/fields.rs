//! The headers that tell a client of its limit.

use std::fmt::Write;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::{Quota, Verdict};
use crate::{Place, Result};

// draft-ietf-httpapi-ratelimit-headers-11: structured fields (RFC 9651), lists of strings with parameters.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The headers of one layer.
pub(super) struct Fields {
    policy: HeaderValue,
    /// Up to the number of requests that are left.
    limit: String,
}

impl Fields {
    pub(super) fn new(place: &Place, quota: Quota) -> Result<Self> {
        let name = string(place.as_str());
        let window = quota.window();
        let seconds = window.as_secs() + u64::from(window.subsec_nanos() > 0);
        Ok(Self { policy: format!("{name};q={};w={seconds}", quota.burst()).parse()?, limit: format!("{name};r=") })
    }

    /// Adds them to those of layers above and below.
    pub(super) fn append(&self, headers: &mut HeaderMap, verdict: &Verdict) {
        for (name, value) in self.of(verdict) {
            headers.append(name, value);
        }
    }

    /// Those of a refusal.
    pub(super) fn of_refusal(&self, verdict: &Verdict) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.of(verdict).chain([(RETRY_AFTER, verdict.seconds().into())])
    }

    fn of(&self, verdict: &Verdict) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let mut limit = String::with_capacity(self.limit.len() + 24);
        limit.push_str(&self.limit);
        // The client may use so many in the time until it is one more; `Retry-After` is not before that time (sections 4.1.2 and 6).
        let _ = write!(limit, "{};t={}", verdict.remaining, verdict.seconds());
        // It is ASCII, so there is such a value.
        let limit = HeaderValue::try_from(limit).ok().map(|limit| (LIMIT, limit));
        [(POLICY, self.policy.clone())].into_iter().chain(limit)
    }
}

/// A string of structured fields (RFC 9651 section 3.3.3): printable ASCII.
fn string(text: &str) -> String {
    let mut string = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            ' '..='~' => string.push(c),
            _ => string.push('?'),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_places_become_strings() {
        for (place, shown) in [("blog/rate_limit#2", r#""blog/rate_limit#2""#), (r#"a"b\c"#, r#""a\"b\\c""#), ("früh", r#""fr?h""#)] {
            assert_eq!(string(place), shown);
        }
    }
}
