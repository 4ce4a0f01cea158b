//! Patterns of hosts, paths, methods, headers and parameters, and which of two patterns covers the other.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ziggurat_middleware::{Finding, Findings};

use super::normal_host;

/// A host name or address, or `*.` and a name for every name below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Exact(String),
    /// The name with its leading dot.
    Below(String),
}

impl Host {
    pub(super) fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.holds(name),
            Self::Below(suffix) => matches!(self, Self::Below(own) if suffix.ends_with(own.as_str())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
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
    pub(super) fn holds(&self, path: &[u8]) -> bool {
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

    /// Whether some path matches both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Below(prefix) => write!(f, "{prefix}/*"),
        }
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
            return Err(format!("`{text}` has a `*` that is not at its end\nhint: a path is exact, or a prefix that ends in `/*`"));
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

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// Whether a decoded request path can be this.
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
pub(super) struct Method(http::Method);

impl Method {
    pub(super) fn holds(&self, method: &http::Method) -> bool {
        self.0 == method || (self.0 == http::Method::GET && method == http::Method::HEAD)
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.holds(&other.0)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        match http::Method::from_bytes(text.as_bytes()) {
            Ok(_) if upper != text => Err(format!("`{text}` is not written in capitals, as methods are\nhint: write `\"{upper}\"`")),
            Ok(method) => Ok(Self(method)),
            Err(_) => Err(format!("`{}` is not a method\nhint: write a name such as `\"GET\"` or `\"POST\"`", text.escape_debug())),
        }
    }
}

/// The values of a header or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Any,
    OneOf(Vec<String>),
}

impl Values {
    pub(super) fn hold(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(texts) => texts.iter().any(|text| test(text)),
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::OneOf(_), Self::Any) => false,
            (Self::OneOf(own), Self::OneOf(texts)) => texts.iter().all(|text| own.contains(text)),
        }
    }

    pub(super) fn validate(&self, field: &str, name: &str, findings: &mut Findings) {
        if matches!(self, Self::OneOf(texts) if texts.is_empty()) {
            findings
                .push(Finding::new("an empty list, which no request can match").at(field).at(name).hint("write `true` to take any value"));
        }
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_bool(true),
            Self::OneOf(texts) => texts.serialize(serializer),
        }
    }
}

struct ValuesVisitor;

impl<'de> de::Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, or `true`")
    }

    fn visit_bool<E: de::Error>(self, any: bool) -> Result<Values, E> {
        if any { Ok(Values::Any) } else { Err(E::custom("`false` has no meaning here\nhint: `true` takes any value")) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values::OneOf(vec![text.to_owned()]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Values, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Values::OneOf)
    }
}

impl JsonSchema for Values {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Values")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }, { "const": true }] })
    }
}

macro_rules! text_pattern {
    ($type:ident, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                ziggurat_middleware::options::from_text(deserializer, $expecting)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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
text_pattern!(Method, "a method such as \"GET\"", { "type": "string", "examples": ["GET", "POST"] });

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
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
        assert!("get".parse::<Method>().unwrap_err().contains("\"GET\""));
    }
}
