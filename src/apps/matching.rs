//! The condition of a route: which requests it takes, and whether one condition leaves nothing to another.
//!
//! Paths are compared after all percent-encoding is undone, as a WSGI app sees them (PEP 3333, `PATH_INFO`): `/%61dmin` and `/admin%2Fx` are
//! below `/admin` for the route because they are for the app.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::{HeaderName, Method, Uri, header};
use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Finding, Findings, Request};

/// The condition of a route. All keys must hold; in a list, any may. Without any, it holds for every request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host the client addressed, without its port and in any case: `example.com`, or `*.example.com` for every name below it (but not
    /// `example.com` itself).
    host: Option<OneOrMany<Host>>,

    /// The path, written without percent-encoding: `/about` for exactly that, `/api/*` for `/api` and everything below it.
    path: Option<OneOrMany<Path>>,

    /// The method, in capitals. `GET` holds for `HEAD` too.
    method: Option<OneOrMany<Verb>>,

    /// Request headers by name: the exact value, a list of them, or `true` where any value will do.
    header: BTreeMap<String, Wanted>,

    /// Parameters of the query by name, both decoded: the exact value, a list of them, or `true` where any value will do.
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

/// A host name or address, or `*.` and a name for every name below it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Exact(String),
    /// The name with its leading dot.
    Below(String),
}

impl Host {
    fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.holds(name),
            Self::Below(suffix) => matches!(self, Self::Below(own) if suffix.ends_with(own.as_str())),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let normal = normal_host(name);
        if normal.parse::<Ipv6Addr>().is_ok() && !below {
            return Ok(Self::Exact(normal));
        }
        let hint = if text.contains("://") || text.contains('/') {
            "write the name alone, as in `\"example.com\"`"
        } else if text == "*" {
            "leave `host` out to take every host"
        } else if text.contains('*') {
            "a `*` stands only for whole leading labels, as in `\"*.example.com\"`"
        } else if text.contains(':') {
            "leave the port out; a route takes its host on every port"
        } else if !text.is_ascii() {
            "write it as the client sends it, in its ASCII form `xn--...`"
        } else {
            "write a name such as `\"example.com\"` or `\"*.example.com\"`"
        };
        let sound = !normal.is_empty() && normal.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_'));
        if !sound {
            return Err(format!("`{text}` is not a host\nhint: {hint}"));
        }
        Ok(if below { Self::Below(format!(".{normal}")) } else { Self::Exact(normal) })
    }
}

/// A path, or with `/*` at its end that path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Exact(String),
    Below(Prefix),
}

impl Path {
    fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Below(prefix) => prefix.holds(path),
        }
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(path) => self.holds(path.as_bytes()),
            Self::Below(prefix) => matches!(self, Self::Below(own) if own.holds(prefix.0.as_bytes())),
        }
    }

    /// Whether some path is within both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "/*" {
            return Ok(Self::Below(Prefix(String::new())));
        }
        if let Some(prefix) = text.strip_suffix("/*") {
            return well_formed(text, prefix).map(|()| Self::Below(Prefix(prefix.to_owned())));
        }
        if text.contains('*') {
            return Err(format!("`{text}` holds a `*` that is not at its end\nhint: a path is exact, or a prefix that ends in `/*`"));
        }
        well_formed(text, text).map(|()| Self::Exact(text.to_owned()))
    }
}

/// A path and everything below it, on the border of a segment: `/blog` is the prefix of `/blog` and `/blog/x`, not of `/blogs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.is_empty() && !self.0.is_empty() || rest.starts_with(b"/"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "/" {
            return Err("`/` takes nothing off a path\nhint: leave `mount` out, or mount at a prefix such as `\"/blog\"`".to_owned());
        }
        if let Some(prefix) = text.strip_suffix("/*").or_else(|| text.strip_suffix('/')) {
            return Err(format!("`{text}` does not end in a name\nhint: write `\"{prefix}\"`; everything below it belongs to it"));
        }
        well_formed(text, text).map(|()| Self(text.to_owned()))
    }
}

/// Whether a path could be that of a request once its percent-encoding is undone.
fn well_formed(text: &str, path: &str) -> Result<(), String> {
    let hint = if !path.starts_with('/') {
        format!("a path begins with `/`: `\"/{text}\"`")
    } else if path.contains(['?', '#']) {
        "a query is matched by `query`".to_owned()
    } else if percent_decode_str(path).ne(path.bytes()) {
        format!("write it without percent-encoding: `\"{}\"`", percent_decode_str(text).decode_utf8_lossy())
    } else if path.contains("//") {
        "write single slashes".to_owned()
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        "write the path without `.` and `..`".to_owned()
    } else if path.contains(|c: char| c.is_ascii_control()) {
        "control characters do not belong there".to_owned()
    } else if path.contains('*') {
        "a `*` may only stand at the end, as in `/api/*`".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("`{}` cannot be matched\nhint: {hint}", text.escape_debug()))
}

/// A method.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verb(Method);

impl Verb {
    fn holds(&self, method: &Method) -> bool {
        self.0 == method || (self.0 == Method::GET && method == Method::HEAD)
    }

    fn covers(&self, other: &Self) -> bool {
        self.holds(&other.0)
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        match Method::from_bytes(text.as_bytes()) {
            Ok(_) if upper != text => Err(format!("`{text}` is not written in capitals, as methods are\nhint: write `\"{upper}\"`")),
            Ok(method) => Ok(Self(method)),
            Err(_) => Err(format!("`{}` is not a method\nhint: write a name such as `\"GET\"` or `\"POST\"`", text.escape_debug())),
        }
    }
}

/// What a header or a parameter must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    OneOf(Vec<String>),
}

impl Wanted {
    fn holds(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(texts) => texts.iter().any(|text| test(text)),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::OneOf(_), Self::Any) => false,
            (Self::OneOf(own), Self::OneOf(texts)) => texts.iter().all(|text| own.contains(text)),
        }
    }

    fn validate(&self, field: &str, name: &str, findings: &mut Findings) {
        if matches!(self, Self::OneOf(texts) if texts.is_empty()) {
            findings
                .push(Finding::new("an empty list, which no request can match").at(field).at(name).hint("write `true` to take any value"));
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WantedVisitor)
    }
}

struct WantedVisitor;

impl<'de> de::Visitor<'de> for WantedVisitor {
    type Value = Wanted;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a list of texts, or `true`")
    }

    fn visit_bool<E: de::Error>(self, any: bool) -> Result<Wanted, E> {
        if any { Ok(Wanted::Any) } else { Err(E::custom("only `true` has a meaning here\nhint: `true` takes any value")) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Wanted, E> {
        Ok(Wanted::OneOf(vec![text.to_owned()]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Wanted, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Wanted::OneOf)
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Wanted")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }, { "const": true }] })
    }
}

macro_rules! text_pattern {
    ($type:ident, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_pattern!(Host, "a host such as \"example.com\"", { "type": "string", "examples": ["example.com", "*.example.com"] });
text_pattern!(Path, "a path such as \"/about\" or \"/api/*\"", { "type": "string", "pattern": r"^(/|.*\$)", "examples": ["/about", "/api/*"] });
text_pattern!(Prefix, "a path such as \"/blog\"", { "type": "string", "pattern": r"^(/.*[^/]|.*\$.*)$", "examples": ["/blog"] });
text_pattern!(Verb, "a method such as \"GET\"", { "type": "string", "examples": ["GET", "POST"] });

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_ends_on_the_border_of_a_segment() {
        for (pattern, inside, outside) in [
            ("/api/*", &["/api", "/api/", "/api/x/y"][..], &["/apix", "/ap", "/", "", "/x/api/"][..]),
            ("/*", &["/", "/x", "//"], &["*", ""]),
            ("/about", &["/about"], &["/about/", "/About", "/about/x"]),
            ("/", &["/"], &["", "/x"]),
        ] {
            for inside in inside {
                assert!(path(pattern).holds(inside.as_bytes()), "{pattern} {inside}");
            }
            for outside in outside {
                assert!(!path(pattern).holds(outside.as_bytes()), "{pattern} {outside}");
            }
        }
    }

    #[test]
    fn a_broader_path_covers_a_narrower_one() {
        for (broad, narrow) in [("/*", "/"), ("/*", "/a/*"), ("/a/*", "/a"), ("/a/*", "/a/b/*"), ("/a", "/a")] {
            assert!(path(broad).covers(&path(narrow)), "{broad} {narrow}");
            assert!(broad == narrow || !path(narrow).covers(&path(broad)), "{narrow} {broad}");
        }
        assert!(!path("/a/*").meets(&path("/ab")) && path("/a/b").meets(&path("/a/*")));
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
    fn patterns_that_could_never_match_are_refused_with_a_hint() {
        for text in ["api", "/a*", "/a/*/b", "/a%20b", "/a?x", "/a//b", "/a/../b", "/a\n"] {
            assert!(text.parse::<Path>().unwrap_err().contains("\nhint: "), "{text}");
        }
        for text in ["/", "blog", "/blog/", "/blog/*", "/b%6cog"] {
            assert!(text.parse::<Prefix>().unwrap_err().contains("\nhint: "), "{text}");
        }
        for text in ["*", "", "*.", "example.com:80", "https://example.com", "a*.example.com", "ex ample", "bücher.example"] {
            assert!(text.parse::<Host>().unwrap_err().contains("\nhint: "), "{text}");
        }
        assert!("get".parse::<Verb>().unwrap_err().contains("\"GET\""));
    }

    #[test]
    fn parameters_are_decoded() {
        let pairs: Vec<_> =
            parameters("a=1&&b+c=%26+x&d").map(|(k, v)| (String::from_utf8_lossy(&k).into_owned(), v.into_owned())).collect();
        assert_eq!(pairs, [("a".into(), b"1".to_vec()), ("b c".into(), b"& x".to_vec()), ("d".into(), vec![])]);
    }
}
