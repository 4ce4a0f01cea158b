//! The response header `Cache-Status` (RFC 9211).

use std::fmt::Write;

use http::{HeaderValue, StatusCode};

use super::stored::CACHE_STATUS;
use crate::Response;

/// How the cache came to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheStatus {
    /// From the cache, with the seconds for which it is still fresh.
    Hit(i64),
    /// From the cache, because the app has failed with this status.
    StaleIfError(i64, StatusCode),
    /// From the app.
    Forward(Forward),
}

/// A request that went to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) why: Why,
    /// That of the app, where the client gets another one.
    pub(super) status: Option<StatusCode>,
    /// The response was stored, with the seconds for which it is fresh.
    pub(super) stored: Option<i64>,
    /// One call of the app answered several requests.
    pub(super) collapsed: bool,
}

/// Why a request goes to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is one that caches do not answer.
    Bypass,
    Method,
    /// The client asks for it.
    Request,
    UriMiss,
    VaryMiss,
    Stale,
}

impl Why {
    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }

    pub(super) const fn forward(self) -> Forward {
        Forward { why: self, status: None, stored: None, collapsed: false }
    }
}

impl CacheStatus {
    /// Adds itself to what caches further inside have said.
    pub(super) fn tell(self, response: &mut Response) {
        let mut text = String::from("ziggurat; ");
        let told = match self {
            Self::Hit(ttl) => write!(text, "hit; ttl={ttl}"),
            Self::StaleIfError(ttl, status) => write!(text, "hit; ttl={ttl}; fwd=stale; fwd-status={}", status.as_u16()),
            Self::Forward(Forward { why, status, stored, collapsed }) => {
                text.push_str("fwd=");
                text.push_str(why.token());
                let status = status.map_or(Ok(()), |status| write!(text, "; fwd-status={}", status.as_u16()));
                status.and_then(|()| stored.map_or(Ok(()), |ttl| write!(text, "; stored; ttl={ttl}"))).map(|()| {
                    if collapsed {
                        text.push_str("; collapsed");
                    }
                })
            }
        };
        if let (Ok(()), Ok(value)) = (told, HeaderValue::try_from(text)) {
            response.headers_mut().append(CACHE_STATUS, value);
        }
    }
}
