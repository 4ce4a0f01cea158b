//! The condition of a route: which requests it takes, and whether it covers another condition.
//!
//! Paths are compared after percent-decoding, as a WSGI app sees them (PEP 3333, `PATH_INFO`): `/%61dmin` and `/admin%2Fx` are below `/admin` for the
//! route, because they are for the app.

mod patterns;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use http::{HeaderName, Uri, header};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Finding, Findings, Mount, Request};

use patterns::{Host, Method, Values};
pub(crate) use patterns::{Path, Prefix};

/// The condition of a route. All keys must hold; in a list, any may. Without any, it holds for every request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host the client addressed, without its port and in any case: `example.com`, or `*.example.com` for every name below it (but not
    /// `example.com` itself).
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<OneOrMany<Host>>,

    /// The path, written without percent-encoding: `/about` for exactly that, `/api/*` for `/api` and everything below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<OneOrMany<Path>>,

    /// The method, in capitals. `GET` holds for `HEAD` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<OneOrMany<Method>>,

    /// Request headers by name: the exact value, a list of values, or `true` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<String, Values>,

    /// Parameters of the query by name, both decoded: the exact value, a list of values, or `true` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, Values>,
}

/// A request as conditions see it. Costly parts are computed once, when first needed.
pub(crate) struct RequestView<'a> {
    request: &'a Request,
    host: OnceCell<Option<String>>,
    path: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> RequestView<'a> {
    pub(crate) const fn new(request: &'a Request) -> Self {
        Self { request, host: OnceCell::new(), path: OnceCell::new() }
    }

    pub(crate) fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// The mount that an outer route made.
    pub(crate) fn mount(&self) -> Option<&Mount> {
        self.request.extensions().get()
    }

    fn host(&self) -> Option<&str> {
        self.host.get_or_init(|| host_of(self.request).map(normal_host)).as_deref()
    }

    /// The path with all percent-encoding undone.
    pub(crate) fn path(&self) -> &[u8] {
        self.path.get_or_init(|| percent_decode_str(self.request.uri().path()).into())
    }
}

/// The host the client addressed, without its port: that of the target, else of the `Host` header (RFC 9112 section 3.2.2).
pub(crate) fn host_of(request: &Request) -> Option<&str> {
    if let Some(host) = request.uri().host() {
        return Some(host);
    }
    let authority = request.headers().get(header::HOST)?.to_str().ok()?;
    let host = match authority.find(']') {
        Some(end) if authority.starts_with('[') => &authority[..=end],
        _ => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then_some(host)
}

/// Lower case, without the dot of the root, IPv6 in its shortest form without brackets.
fn normal_host(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

/// A key of a route that does not hold for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Mount,
    Host,
    Path,
    Method,
    /// The header with this name.
    Header(&'a str),
    /// The parameter of the query with this name.
    Query(&'a str),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount => f.write_str("mount"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Method => f.write_str("method"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Query(name) => write!(f, "query `{name}`"),
        }
    }
}

impl Match {
    /// The first key that does not hold for the request.
    pub(crate) fn mismatch(&self, request: &RequestView<'_>) -> Option<Key<'_>> {
        let host = |hosts: &OneOrMany<Host>| request.host().is_some_and(|host| hosts.0.iter().any(|pattern| pattern.holds(host)));
        let path = |paths: &OneOrMany<Path>| paths.0.iter().any(|pattern| pattern.holds(request.path()));
        let method = |methods: &OneOrMany<Method>| methods.0.iter().any(|method| method.holds(request.request.method()));
        if !self.host.as_ref().is_none_or(host) {
            return Some(Key::Host);
        }
        if !self.path.as_ref().is_none_or(path) {
            return Some(Key::Path);
        }
        if !self.method.as_ref().is_none_or(method) {
            return Some(Key::Method);
        }
        let header = self.header.iter().find(|(name, values)| {
            let mut given = request.request.headers().get_all(*name).iter();
            !given.any(|value| values.hold(|text| text.as_bytes() == value.as_bytes()))
        });
        header.map(|(name, _)| Key::Header(name)).or_else(|| self.query_mismatch(request.uri()))
    }

    fn query_mismatch(&self, uri: &Uri) -> Option<Key<'_>> {
        if self.query.is_empty() {
            return None;
        }
        let pairs: Vec<_> = parameters(uri.query().unwrap_or_default()).collect();
        let parameter = self.query.iter().find(|(name, values)| {
            !pairs.iter().any(|(key, value)| key.as_ref() == name.as_bytes() && values.hold(|text| text.as_bytes() == value.as_ref()))
        });
        parameter.map(|(name, _)| Key::Query(name))
    }

    /// Reports conditions that no request can meet.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let empty = [
            ("host", self.host.as_ref().is_some_and(|list| list.0.is_empty())),
            ("path", self.path.as_ref().is_some_and(|list| list.0.is_empty())),
            ("method", self.method.as_ref().is_some_and(|list| list.0.is_empty())),
        ];
        for (field, _) in empty.iter().filter(|(_, empty)| *empty) {
            findings.push(
                Finding::new("an empty list, which no request can match")
                    .at(*field)
                    .hint(format!("leave `{field}` out to take every {field}")),
            );
        }
        for (name, values) in &self.header {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                findings.push(Finding::new(format!("`{name}` is not a header name")).at("header").at(name.as_str()));
            }
            if name.eq_ignore_ascii_case("host") {
                findings.push(
                    Finding::new("the host is matched by `host`")
                        .at("header")
                        .at(name.as_str())
                        .hint("write `\"match\": { \"host\": \"example.com\" }`"),
                );
            }
            values.validate("header", name, findings);
        }
        for (name, values) in &self.query {
            values.validate("query", name, findings);
        }
    }

    /// The paths it names.
    pub(crate) fn paths(&self) -> Option<&[Path]> {
        self.path.as_ref().map(|paths| paths.0.as_slice())
    }

    /// Whether it holds for every request that `other` holds for, apart from the path.
    pub(crate) fn covers_but_path(&self, other: &Self) -> bool {
        covers(self.host.as_ref(), other.host.as_ref(), Host::covers)
            && covers(self.method.as_ref(), other.method.as_ref(), Method::covers)
            && covers_map(&self.header, &other.header, |a, b| a.eq_ignore_ascii_case(b))
            && covers_map(&self.query, &other.query, |a, b| a == b)
    }
}

/// Whether every alternative of `narrow` is within one of `broad`.
pub(crate) fn covers_all<T>(broad: &[T], narrow: &[T], covers: fn(&T, &T) -> bool) -> bool {
    narrow.iter().all(|narrow| broad.iter().any(|broad| covers(broad, narrow)))
}

fn covers<T>(broad: Option<&OneOrMany<T>>, narrow: Option<&OneOrMany<T>>, test: fn(&T, &T) -> bool) -> bool {
    match (broad, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(broad), Some(narrow)) => covers_all(&broad.0, &narrow.0, test),
    }
}

fn covers_map(broad: &BTreeMap<String, Values>, narrow: &BTreeMap<String, Values>, same: fn(&str, &str) -> bool) -> bool {
    broad.iter().all(|(name, values)| narrow.iter().any(|(other, narrow)| same(name, other) && values.covers(narrow)))
}

/// Decoded names and values of a query, `+` standing for a space (WHATWG URL, `application/x-www-form-urlencoded`).
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    fn decoded(text: &str) -> Cow<'_, [u8]> {
        if text.contains('+') {
            let spaced = text.replace('+', " ");
            return Cow::Owned(percent_decode_str(&spaced).collect());
        }
        percent_decode_str(text).into()
    }
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        for (pattern, target, holds) in [
            ("example.com", "EXAMPLE.com:8000", true),
            ("Example.COM.", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "a.b.example.com:1", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("[::1]", "[0:0::1]:80", true),
            ("::1", "[::1]", true),
            ("127.0.0.1", "127.0.0.1:80", true),
        ] {
            let request = http::Request::builder().header("host", target).body(ziggurat_middleware::Body::empty()).unwrap();
            assert_eq!(host(pattern).holds(RequestView::new(&request).host().unwrap()), holds, "{pattern} {target}");
        }
        assert!(host("*.example.com").covers(&host("*.a.example.com")) && !host("*.a.example.com").covers(&host("*.example.com")));
    }

    #[test]
    fn parameters_are_decoded() {
        let pairs: Vec<_> =
            parameters("a=1&&b+c=%26+x&d").map(|(k, v)| (String::from_utf8_lossy(&k).into_owned(), v.into_owned())).collect();
        assert_eq!(pairs, [("a".into(), b"1".to_vec()), ("b c".into(), b"& x".to_vec()), ("d".into(), vec![])]);
    }
}
