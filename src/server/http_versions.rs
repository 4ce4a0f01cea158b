//! The versions of HTTP that a listener speaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings};

use super::{Address, Transport};

/// The versions of HTTP that clients may choose from: `1.1` (with 1.0), `2` and `3`. By default `1.1` and `2`. Without TLS, the first octets of a client tell which one it speaks.
/// `3` takes TLS, and a program that was built with the cargo feature `experimental-http3`: it is served on the UDP port with the same number.
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
    #[serde(rename = "3")]
    Http3,
}

/// Whether this program can serve HTTP/3.
const HAS_HTTP3: bool = cfg!(feature = "experimental-http3");

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

    /// HTTP/3, if this program can serve it.
    #[must_use]
    pub fn has_http3(&self) -> bool {
        HAS_HTTP3 && self.0.contains(&HttpVersion::Http3)
    }

    /// The names of those over TCP for ALPN (RFC 7301), the preferred one first.
    #[must_use]
    pub fn protocols(&self) -> Vec<&'static [u8]> {
        let offered: [(bool, &'static [u8]); 2] = [(self.has_http2(), b"h2"), (self.has_http1(), b"http/1.1")];
        offered.into_iter().filter_map(|(is_spoken, name)| is_spoken.then_some(name)).collect()
    }

    /// Reports what cannot be served at this address over this transport. Whether there is TLS is not known in the transport yet.
    pub fn validate(&self, address: &Address, transport: &Transport, has_tls: bool, findings: &mut Findings) {
        if let Some((message, hint)) = self.mistake(address, transport, has_tls, HAS_HTTP3) {
            findings.push(Finding::new(message).hint(hint));
        }
    }

    fn mistake(&self, address: &Address, transport: &Transport, has_tls: bool, has_http3: bool) -> Option<(&'static str, &'static str)> {
        let is_repeated = |(at, version): (usize, &HttpVersion)| self.0[..at].contains(version);
        if self.0.is_empty() {
            return Some(("`http` names no version", "write `[\"1.1\", \"2\"]`, or leave the option out"));
        }
        if self.0.iter().enumerate().any(is_repeated) {
            return Some(("`http` names a version twice", "leave one of them out"));
        }
        if !self.0.contains(&HttpVersion::Http3) {
            return None;
        }
        if !has_http3 {
            let hint = "build it with `cargo build --release --features experimental-http3`, or leave `\"3\"` out: docs/tls.md says why it is not built in";
            return Some(("this program was built without HTTP/3", hint));
        }
        if !has_tls {
            return Some(("HTTP/3 takes `tls`", "add `tls`, or leave `\"3\"` out"));
        }
        if matches!(address, Address::Unix(_)) {
            return Some(("HTTP/3 runs over UDP, which a Unix socket does not have", "leave `\"3\"` out"));
        }
        if transport.proxy_protocol.is_some() {
            return Some(("HTTP/3 has no PROXY protocol", "leave `\"3\"` or `proxy_protocol` out"));
        }
        if !self.has_http1() && !self.has_http2() {
            return Some(("clients learn of HTTP/3 by another version first", "write `[\"1.1\", \"2\", \"3\"]`"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_http3_says_how_to_build_one() {
        let versions: HttpVersions = serde_json::from_str(r#"["1.1", "3"]"#).unwrap();
        let address = ":443".parse().unwrap();
        let (message, hint) = versions.mistake(&address, &Transport::default(), true, false).unwrap();
        assert!(message.contains("without HTTP/3") && hint.contains("experimental-http3"));
        assert_eq!(versions.mistake(&address, &Transport::default(), true, true), None);
    }
}
