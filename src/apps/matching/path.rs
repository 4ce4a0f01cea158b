//! Patterns of paths: segments, of which some have a name, or a regular expression.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ziggurat_middleware::path::{DecodedPath, PathParams, PathRegex};

use super::prefix::Prefix;

/// What the whole path of a request has to be, without its percent-encoding.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    /// `/about`, `/api/*`, `/users/{id}`, `/files/{rest*}`.
    Segments { segments: Vec<Segment>, rest: Rest },
    /// `{ "regex": "/v[0-9]+/.*" }`.
    Regex(PathRegex),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// `{id}`: any text but none.
    Name(Arc<str>),
}

/// What may follow the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    None,
    /// `/*`: nothing, or a slash and anything.
    Any,
    /// `/{rest*}`: the same, with a name for what follows the slash.
    Named(Arc<str>),
}

impl Path {
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Segments { segments, rest } => matches(segments, rest, path, |_, _| ()),
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Segments { segments, rest } => {
                let segments = segments.iter().filter_map(|segment| match segment {
                    Segment::Name(name) => Some(&**name),
                    Segment::Literal(_) => None,
                });
                let rest = if let Rest::Named(name) = rest { Some(&**name) } else { None };
                segments.chain(rest).collect()
            }
            Self::Regex(regex) => regex.names().collect(),
        }
    }

    /// Takes what its names stand for out of a path that it holds for.
    pub(super) fn capture(&self, path: &DecodedPath<'_>, params: &mut PathParams) {
        match self {
            Self::Segments { segments, rest } => {
                _ = matches(segments, rest, path.octets(), |name, octets| params.insert(Arc::clone(name), path, octets));
            }
            Self::Regex(regex) => {
                for (name, octets) in regex.captures(path.octets()).unwrap_or_default() {
                    params.insert(name.into(), path, octets);
                }
            }
        }
    }

    /// Whether it holds for every path that `other` holds for. Of regular expressions, little is known.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Segments { segments, rest }, Self::Segments { segments: others, rest: other_rest }) => {
                let long_enough = match rest {
                    Rest::None => *other_rest == Rest::None && others.len() == segments.len(),
                    _ => others.len() >= segments.len(),
                };
                long_enough && segments.iter().zip(others).all(|(own, other)| own.covers(other))
            }
            (Self::Regex(regex), Self::Segments { .. }) => other.exact().is_some_and(|path| regex.is_match(path.as_bytes())),
            (Self::Regex(regex), Self::Regex(other)) => regex.as_str() == other.as_str(),
            (Self::Segments { .. }, Self::Regex(_)) => false,
        }
    }

    /// Whether some path may match both. Of regular expressions, little is known.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Segments { segments, rest }, Self::Segments { segments: others, rest: other_rest }) => {
                let lengths = match (rest, other_rest) {
                    (Rest::None, Rest::None) => segments.len() == others.len(),
                    (Rest::None, _) => segments.len() >= others.len(),
                    (_, Rest::None) => segments.len() <= others.len(),
                    _ => true,
                };
                lengths && segments.iter().zip(others).all(|(own, other)| own.covers(other) || other.covers(own))
            }
            (Self::Regex(regex), path) | (path, Self::Regex(regex)) => path.exact().is_none_or(|path| regex.is_match(path.as_bytes())),
        }
    }

    /// What it begins with. Nothing is known of a regular expression.
    pub(super) fn segments(&self) -> &[Segment] {
        match self {
            Self::Segments { segments, .. } => segments,
            Self::Regex(_) => &[],
        }
    }

    /// The only path that it holds for.
    pub(super) fn exact(&self) -> Option<String> {
        let Self::Segments { segments, rest: Rest::None } = self else { return None };
        segments.iter().all(|segment| matches!(segment, Segment::Literal(_))).then(|| self.to_string())
    }

    /// The path that a regular expression spells out, without the slash that may follow: `/admin` of `/admin/?`.
    pub(super) fn plain(&self) -> Option<String> {
        let Self::Regex(regex) = self else { return None };
        let text = regex.as_str();
        let text = text.strip_suffix("/?").unwrap_or(text);
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'/' | b'-' | b'_' | b'~');
        (text.starts_with('/') && text.bytes().all(is_plain)).then(|| text.to_owned())
    }
}

impl Segment {
    /// Its octets, if it is always the same.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Literal(text) => Some(text.as_bytes()),
            Self::Name(_) => None,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(_), Self::Name(_)) => true,
            (Self::Name(_), Self::Literal(text)) => !text.is_empty(),
            (Self::Literal(own), Self::Literal(text)) => own == text,
            (Self::Literal(_), Self::Name(_)) => false,
        }
    }
}

/// Whether a path consists of these segments and this rest. `named` hears where the names stand, also of a path that does not match in the end.
fn matches(segments: &[Segment], rest: &Rest, path: &[u8], mut named: impl FnMut(&Arc<str>, Range<usize>)) -> bool {
    let mut at = 0;
    for segment in segments {
        if path.get(at) != Some(&b'/') {
            return false;
        }
        let start = at + 1;
        let end = memchr::memchr(b'/', &path[start..]).map_or(path.len(), |length| start + length);
        match segment {
            Segment::Literal(text) if *text.as_bytes() == path[start..end] => {}
            Segment::Name(name) if start < end => named(name, start..end),
            _ => return false,
        }
        at = end;
    }
    // What is left is nothing or begins with a slash, but for a target without any, such as `*`.
    let left = &path[at..];
    match rest {
        Rest::None => left.is_empty(),
        _ if left.is_empty() && segments.is_empty() || !left.is_empty() && left[0] != b'/' => false,
        Rest::Any => true,
        Rest::Named(name) => {
            named(name, path.len().min(at + 1)..path.len());
            true
        }
    }
}

/// What is below a mount.
impl From<&Prefix> for Path {
    fn from(prefix: &Prefix) -> Self {
        let segments = prefix.as_str().split('/').skip(1).map(|segment| Segment::Literal(segment.to_owned()));
        Self::Segments { segments: segments.collect(), rest: Rest::Any }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Segments { segments, rest } = self else { return Ok(()) };
        for segment in segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Name(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match rest {
            Rest::None => Ok(()),
            Rest::Any => f.write_str("/*"),
            Rest::Named(name) => write!(f, "/{{{name}*}}"),
        }
    }
}

/// `{ "regex": "..." }`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegexForm<T> {
    /// A regular expression for the whole path.
    regex: T,
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathVisitor)
    }
}

struct PathVisitor;

impl<'de> de::Visitor<'de> for PathVisitor {
    type Value = Path;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path such as \"/about\", \"/api/*\" or \"/users/{id}\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Path, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Path, A::Error> {
        let RegexForm::<PathRegex> { regex } = RegexForm::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Path::Regex(regex))
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Segments { .. } => serializer.collect_str(self),
            Self::Regex(regex) => RegexForm { regex }.serialize(serializer),
        }
    }
}

impl JsonSchema for Path {
    fn schema_name() -> Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let examples = ["/about", "/api/*", "/users/{id}", "/files/{rest*}"];
        let regex = RegexForm::<PathRegex>::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string", "pattern": r"^(/|.*\$)", "examples": examples }, regex] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        match text.strip_prefix('~') {
            Some(regex) => serde_json::from_value(serde_json::json!({ "regex": regex })).unwrap(),
            None => text.parse().unwrap(),
        }
    }

    #[test]
    fn a_prefix_ends_on_the_border_of_a_segment() {
        for (pattern, inside, outside) in [
            ("/api/*", &["/api", "/api/", "/api/x/y"][..], &["/apix", "/ap", "/", "", "/x/api/"][..]),
            ("/*", &["/", "/x", "//"], &["*", ""]),
            ("/about", &["/about"], &["/about/", "/About", "/about/x"]),
            ("/", &["/"], &["", "/x"]),
            ("/users/{id}", &["/users/7", "/users/{id}"], &["/users", "/users/", "/users/7/", "/users/7/x", "/user/7"]),
            ("/{a}/x/{b}/", &["/1/x/2/"], &["/1/x/2", "/1/y/2/", "//x/2/"]),
            ("/files/{rest*}", &["/files", "/files/", "/files/a/b"], &["/filesx", "/", "*"]),
            ("/{user}/*", &["/a", "/a/", "/a/b/c"], &["/", "", "//a"]),
            ("/{all*}", &["/", "/x/y"], &["", "*"]),
            ("~/v[0-9]+/.*", &["/v1/", "/v12/a\nb"], &["/v/", "x/v1/", "/v1"]),
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
    fn names_are_taken_out_as_the_client_wrote_them() {
        for (pattern, written, expected) in [
            ("/users/{id}", "/users/%C3%A9%201", &[("id", "%C3%A9%201")][..]),
            ("/{a}/{b}/*", "/%61/b%5C/c", &[("a", "%61"), ("b", "b%5C")]),
            ("/files/{rest*}", "/files/a/b%2Fc", &[("rest", "a/b%2Fc")]),
            ("/files/{rest*}", "/files", &[("rest", "")]),
            ("/files/{rest*}", "/files/", &[("rest", "")]),
            ("~/(?<year>[0-9]{4})(-(?<month>[0-9]+))?", "/2026", &[("year", "2026"), ("month", "")]),
        ] {
            let pattern = path(pattern);
            let mut params = PathParams::default();
            pattern.capture(&DecodedPath::new(written), &mut params);
            for (name, value) in expected {
                assert_eq!(params.get(name), Some(*value), "{pattern:?} {written}");
            }
        }
    }

    #[test]
    fn a_broader_path_covers_a_narrower_one() {
        for (broad, narrow) in [
            ("/*", "/"),
            ("/*", "/a/*"),
            ("/a/*", "/a"),
            ("/a/*", "/a/b/*"),
            ("/a", "/a"),
            ("/{x}", "/a"),
            ("/{x}/*", "/a/{y}"),
            ("/a/*", "/a/{y*}"),
            ("~/a[bc]", "/ab"),
            ("~/a", "~/a"),
        ] {
            assert!(path(broad).covers(&path(narrow)), "{broad} {narrow}");
            assert!(broad == narrow || broad == "/a/*" && narrow.contains("y*") || !path(narrow).covers(&path(broad)), "{narrow} {broad}");
        }
        for (one, other) in [("/{x}", "/"), ("/a", "/b/*"), ("/{x}/b", "/a"), ("~/a", "/b")] {
            assert!(!path(one).covers(&path(other)) && !path(one).meets(&path(other)) && !path(other).meets(&path(one)), "{one} {other}");
        }
        assert!(!path("/a/*").meets(&path("/ab")) && path("/a/b").meets(&path("/a/*")) && path("/{x}/b").meets(&path("/a/{y}")));
    }

    #[test]
    fn patterns_are_printed_as_they_are_written() {
        for text in ["/", "/*", "/about", "/a/", "/a/*", "/users/{id}", "/{a}/b/{rest*}", "/{all*}"] {
            assert_eq!(path(text).to_string(), text);
        }
        assert_eq!(serde_json::to_string(&path("~/v[0-9]")).unwrap(), r#"{"regex":"/v[0-9]"}"#);
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused_with_a_hint() {
        let texts = [
            "api",
            "/a*",
            "/a/*/b",
            "/a%20b",
            "/a?x",
            "/a//b",
            "/a/../b",
            "/a\n",
            "~^/a",
            "^/a$",
            "/{id",
            "/id}",
            "/{}",
            "/{a-b}",
            "/{1}",
            "/{a}/{a}",
            "/v{n}",
            "/{a}{b}",
            "/{a}/{a*}",
            "/{rest*}/b",
            "/{*}",
            "/{path}",
            "/{{a}}",
        ];
        for text in texts {
            assert!(text.parse::<Path>().unwrap_err().contains("\nhint: "), "{text}");
        }
    }
}
