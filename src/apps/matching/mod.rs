//! The condition of a route: which requests it takes, and whether one condition leaves nothing to another.
//!
//! Paths are compared after all percent-encoding is undone, as a WSGI app sees them (PEP 3333, `PATH_INFO`): `/%61dmin` and `/admin%2Fx` are
//! below `/admin` for the route because they are for the app.

mod patterns;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use http::{HeaderName, Uri, header};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Finding, Findings, Request};

use patterns::{Host, Verb, Wanted};
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
    method: Option<OneOrMany<Verb>>,

    /// Request headers by name: the exact value, a list of them, or `true` where any value will do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<String, Wanted>,

    /// Parameters of the query by name, both decoded: the exact value, a list of them, or `true` where any value will do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, Wanted>,
}

/// A request as conditions look at it; what is costly is worked out once and only if asked for.
pub(crate) struct View<'a> {
    request: &'a Request,
    host: OnceCell<Option<String>>,
    path: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> View<'a> {
    pub(crate) const fn new(request: &'a Request) -> Self {
        Self { request, host: OnceCell::new(), path: OnceCell::new() }
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

impl Match {
    /// Whether the request fulfils it.
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        let any_host = |hosts: &OneOrMany<Host>| view.host().is_some_and(|host| hosts.0.iter().any(|pattern| pattern.holds(host)));
        let any_path = |paths: &OneOrMany<Path>| paths.0.iter().any(|pattern| pattern.holds(view.path()));
        let any_verb = |verbs: &OneOrMany<Verb>| verbs.0.iter().any(|verb| verb.holds(view.request.method()));
        self.host.as_ref().is_none_or(any_host)
            && self.path.as_ref().is_none_or(any_path)
            && self.method.as_ref().is_none_or(any_verb)
            && self.header.iter().all(|(name, wanted)| {
                view.request.headers().get_all(name).iter().any(|value| wanted.holds(|text| text.as_bytes() == value.as_bytes()))
            })
            && (self.query.is_empty() || self.query_holds(view.request.uri()))
    }

    fn query_holds(&self, uri: &Uri) -> bool {
        let pairs: Vec<_> = parameters(uri.query().unwrap_or_default()).collect();
        self.query.iter().all(|(name, wanted)| {
            pairs.iter().any(|(key, value)| key.as_ref() == name.as_bytes() && wanted.holds(|text| text.as_bytes() == value.as_ref()))
        })
    }

    /// Reports conditions that no request could fulfil.
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
        for (name, wanted) in &self.header {
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
            wanted.validate("header", name, findings);
        }
        for (name, wanted) in &self.query {
            wanted.validate("query", name, findings);
        }
    }

    /// The paths it names.
    pub(crate) fn paths(&self) -> Option<&[Path]> {
        self.path.as_ref().map(|paths| paths.0.as_slice())
    }

    /// Whether it holds wherever `other` does, paths left aside.
    pub(crate) fn covers_but_path(&self, other: &Self) -> bool {
        covers(self.host.as_ref(), other.host.as_ref(), Host::covers)
            && covers(self.method.as_ref(), other.method.as_ref(), Verb::covers)
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

fn covers_map(broad: &BTreeMap<String, Wanted>, narrow: &BTreeMap<String, Wanted>, same: fn(&str, &str) -> bool) -> bool {
    broad.iter().all(|(name, wanted)| narrow.iter().any(|(other, narrow)| same(name, other) && wanted.covers(narrow)))
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
            assert_eq!(host(pattern).holds(View::new(&request).host().unwrap()), holds, "{pattern} {target}");
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
