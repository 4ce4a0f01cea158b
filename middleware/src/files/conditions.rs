//! Conditional requests (RFC 9110 section 13).

use std::time::{Duration, SystemTime};

use http::header::{AsHeaderName, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::entity_tag::{Comparison, is_listed};

/// The request headers that decide whether a file is sent, and which part of it.
pub(crate) const PRECONDITIONS: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// The result of the preconditions of a GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send the file.
    Proceed,
    /// 304: the client has the current version.
    NotModified,
    /// 412: the client requires another version.
    Failed,
}

/// Identifies a version of a file.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// A strong entity tag.
    pub(crate) etag: HeaderValue,
    /// Last-Modified, in whole seconds, if the file has a time that means something.
    pub(crate) modified: Option<SystemTime>,
}

impl Validators {
    /// Validators with this tag, which has no quotes yet, and this time of change in seconds since 1970.
    pub(crate) fn new(tag: String, modified: Option<i64>) -> Self {
        let etag = HeaderValue::try_from(format!("\"{tag}\"")).unwrap_or(const { HeaderValue::from_static("\"\"") });
        // A date in the future is replaced by the current one (RFC 9110 section 8.8.2.1).
        let modified = modified.and_then(|secs| u64::try_from(secs).ok()).map(|secs| secs.min(now()));
        Self { etag, modified: modified.map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs)) }
    }

    /// Evaluates in the order of RFC 9110 section 13.2.2.
    pub(crate) fn verdict(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(IF_MATCH) {
            if !self.listed(headers, IF_MATCH, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some(date) = date(headers, IF_UNMODIFIED_SINCE)
            && self.modified.is_some_and(|modified| modified > date)
        {
            return Verdict::Failed;
        }
        if headers.contains_key(IF_NONE_MATCH) {
            if self.listed(headers, IF_NONE_MATCH, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if let Some(date) = date(headers, IF_MODIFIED_SINCE)
            && self.modified.is_some_and(|modified| modified <= date)
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether a `Range` may be honoured: there is no `If-Range`, or it names exactly this version (RFC 9110 section 13.1.5).
    pub(crate) fn allow_range(&self, headers: &HeaderMap) -> bool {
        match headers.get(IF_RANGE) {
            None => true,
            Some(tag) if tag.as_bytes().starts_with(b"\"") => *tag == self.etag,
            Some(_) => self.modified.is_some() && date(headers, IF_RANGE) == self.modified,
        }
    }

    fn listed(&self, headers: &HeaderMap, name: impl AsHeaderName, comparison: Comparison) -> bool {
        headers.get_all(name).iter().any(|line| is_listed(line.as_bytes(), self.etag.as_bytes(), comparison))
    }
}

/// A date header; an invalid one is ignored.
fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_of_http_dates_do_no_harm() {
        for secs in [i64::MIN, -1, 0, i64::MAX] {
            let _ = Validators::new("x".to_owned(), Some(secs)).modified.map(httpdate::fmt_http_date);
        }
    }
}
