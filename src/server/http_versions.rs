//! The versions of HTTP that a listener speaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings};

/// The versions of HTTP that clients may choose from: `1.1` (with 1.0) and `2`. By default both. Without TLS, the first octets of a client tell which one it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "HttpVersions", extend("minItems" = 1, "uniqueItems" = true))]
pub struct HttpVersions(Vec<HttpVersion>);

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
enum HttpVersion {
    #[serde(rename = "1.1")]
    Http1,
    #[serde(rename = "2")]
    Http2,
}

impl Default for HttpVersions {
    fn default() -> Self {
        Self(vec![HttpVersion::Http1, HttpVersion::Http2])
    }
}

impl HttpVersions {
    /// HTTP/1.1 and HTTP/1.0.
    pub(super) fn has_http1(&self) -> bool {
        self.0.contains(&HttpVersion::Http1)
    }

    /// HTTP/2.
    pub(super) fn has_http2(&self) -> bool {
        self.0.contains(&HttpVersion::Http2)
    }

    /// Their names for ALPN (RFC 7301), the preferred one first.
    #[must_use]
    pub fn protocols(&self) -> Vec<&'static [u8]> {
        let offered: [(bool, &'static [u8]); 2] = [(self.has_http2(), b"h2"), (self.has_http1(), b"http/1.1")];
        offered.into_iter().filter_map(|(is_spoken, name)| is_spoken.then_some(name)).collect()
    }

    /// Reports a list that says nothing, or the same twice.
    pub fn validate(&self, findings: &mut Findings) {
        let is_repeated = |(at, version): (usize, &HttpVersion)| self.0[..at].contains(version);
        if self.0.is_empty() {
            findings.push(Finding::new("`http` names no version").hint("write `[\"1.1\", \"2\"]`, or leave the option out"));
        } else if self.0.iter().enumerate().any(is_repeated) {
            findings.push(Finding::new("`http` names a version twice").hint("leave one of them out"));
        }
    }
}
