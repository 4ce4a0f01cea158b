//! The condition of a route: which requests it takes, and whether it covers another condition. Of many, an index finds those that may hold.
//!
//! Paths are compared after percent-decoding, as a WSGI app sees them (PEP 3333, `PATH_INFO`): `/%61dmin` and `/admin%2Fx` are below `/admin` for the
//! route, because they are for the app.

mod asks;
mod cover;
mod host;
mod index;
mod mismatch;
mod parse;
mod path;
mod pattern;
mod prefix;
mod sample;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod values;
mod view;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::Network;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::path::PathParams;

pub(crate) use cover::Condition;
pub(crate) use host::host_of;
use host::{Host, HostOf};
pub(crate) use index::Index;
pub(crate) use path::Path;
use pattern::{Method, SchemeName};
pub(crate) use prefix::Prefix;
use values::Values;
pub(crate) use view::RequestView;

/// The condition of a route. All keys must hold; in a list, any may. Without any, it holds for every request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host the client addressed, without its port and in any case: `example.com`, or `*.example.com` for every name below it (but not
    /// `example.com` itself).
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<OneOrMany<Host>>,

    /// The path, written without percent-encoding: `/about` for exactly that, `/api/*` for `/api` and everything below it, `/users/{id}` for any one
    /// segment, `/files/{rest*}` for `/files/*` with a name for what is below, or `{ "regex": "/v[0-9]+/.*" }` for the whole path. Layers below fill
    /// in what a name stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<OneOrMany<Path>>,

    /// The method, in capitals. `GET` holds for `HEAD` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<OneOrMany<Method>>,

    /// The scheme by which the client came, here or at a proxy that a `forwarded` layer above trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<SchemeName>,

    /// Networks of the client: `10.0.0.0/8`, or an address. Behind a proxy, it is the client that a `forwarded` layer above believes. A client on a
    /// Unix socket is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<OneOrMany<Network>>,

    /// The certificate that the client has shown to this server over TLS, and that was verified: its subject, as in `CN=ann,O=Example` (RFC 4514), a list of subjects, `true` for
    /// any certificate, or `false` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<Values>,

    /// Request headers by name: the exact value, a list of values, `true` for any value, or `false` for none. `Forwarded`, `X-Forwarded-*` and `X-Real-IP` are there only below a
    /// `forwarded` layer, because every client can send them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<String, Values>,

    /// Cookies by name: the exact value, a list of values, `true` for any value, or `false` for none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cookie: BTreeMap<String, Values>,

    /// Parameters of the query by name, both decoded: the exact value, a list of values, `true` for any value, or `false` for none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, Values>,

    /// A condition that must not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<Box<Match>>,
}

/// A key of a route that does not hold for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Mount,
    Host,
    Path,
    Method,
    Scheme,
    Client,
    ClientCert,
    /// The header with this name.
    Header(&'a str),
    /// The cookie with this name.
    Cookie(&'a str),
    /// The parameter of the query with this name.
    Query(&'a str),
    /// The inner condition holds.
    Not,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount => f.write_str("mount"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Method => f.write_str("method"),
            Self::Scheme => f.write_str("scheme"),
            Self::Client => f.write_str("client"),
            Self::ClientCert => f.write_str("client_cert"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Cookie(name) => write!(f, "cookie `{name}`"),
            Self::Query(name) => write!(f, "query `{name}`"),
            Self::Not => f.write_str("not"),
        }
    }
}

impl Match {
    /// The first key that does not hold for the request. It allocates nothing.
    pub(crate) fn mismatch(&self, request: &RequestView<'_>) -> Option<Key<'_>> {
        if !any_holds(self.host.as_ref(), |host| request.host().is_some_and(|name| host.holds(name))) {
            return Some(Key::Host);
        }
        if !any_holds(self.path.as_ref(), |path| path.holds(request.path().octets())) {
            return Some(Key::Path);
        }
        if !any_holds(self.method.as_ref(), |method| method.holds(request.method())) {
            return Some(Key::Method);
        }
        if !self.scheme.is_none_or(|scheme| request.scheme().is_some_and(|actual| scheme.holds(actual))) {
            return Some(Key::Scheme);
        }
        if !any_holds(self.client.as_ref(), |network| request.client().is_some_and(|address| network.contains(address))) {
            return Some(Key::Client);
        }
        if !self
            .client_cert
            .as_ref()
            .is_none_or(|values| values.hold(request.client_subject().into_iter(), |subject, text| *subject == text))
        {
            return Some(Key::ClientCert);
        }
        for (name, values) in &self.header {
            if !values.hold(request.headers(name), |value, text| value.as_bytes() == text.as_bytes()) {
                return Some(Key::Header(name));
            }
        }
        for (name, values) in &self.cookie {
            if !values.hold(request.cookies(name), |value, text| *value == text.as_bytes()) {
                return Some(Key::Cookie(name));
            }
        }
        for (name, values) in &self.query {
            if !values.hold(request.parameters(name), |value, text| value.is(text)) {
                return Some(Key::Query(name));
            }
        }
        self.not.as_ref().filter(|not| not.mismatch(request).is_none()).map(|_| Key::Not)
    }

    /// Adds what the names of its path stand for in a request that it holds for.
    pub(crate) fn capture(&self, request: &RequestView<'_>, params: &mut PathParams) {
        let path = request.path();
        if let Some(holds) = self.paths().iter().find(|pattern| pattern.holds(path.octets())) {
            holds.capture(path, params);
        }
    }

    /// The names of its path.
    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        self.paths().iter().flat_map(Path::names)
    }

    /// The first of its paths that holds for the request.
    pub(crate) fn path_of(&self, request: &RequestView<'_>) -> Option<&Path> {
        self.paths().iter().find(|path| path.holds(request.path().octets()))
    }

    fn paths(&self) -> &[Path] {
        self.path.as_ref().map_or(&[], |paths| &paths.0)
    }
}

/// Whether one of the alternatives holds, or there are none to choose from.
fn any_holds<T>(alternatives: Option<&OneOrMany<T>>, holds: impl Fn(&T) -> bool) -> bool {
    alternatives.is_none_or(|list| list.0.iter().any(holds))
}
