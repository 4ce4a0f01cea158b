//! Which paths a layer means.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use regex::bytes::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::{DecodedPath, whole};

/// A path, or with `/*` at its end that path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum PathPattern {
    Exact(String),
    /// The path without `/*`.
    Below(String),
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (path, is_below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text.as_str(), false),
        };
        let hint = if !text.starts_with('/') {
            format!("a path begins with `/`: `\"/{text}\"`")
        } else if path.contains('*') {
            "a `*` stands only at the end, as in `/old/*`; `regex` matches other paths".to_owned()
        } else if path.contains(['?', '#']) {
            "leave the query out: a rule matches the path".to_owned()
        } else if percent_decode_str(path).ne(path.bytes()) {
            format!("write it without percent-encoding: `\"{}\"`", percent_decode_str(&text).decode_utf8_lossy())
        } else if path.contains("//") {
            "write single slashes".to_owned()
        } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            "write the path without `.` and `..`".to_owned()
        } else if path.contains(|c: char| c.is_control()) {
            "control characters do not belong there".to_owned()
        } else {
            return Ok(if is_below { Self::Below(path.to_owned()) } else { Self::Exact(text) });
        };
        Err(format!("`{}` cannot be matched\nhint: {hint}", text.escape_debug()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Below(path) => write!(f, "{path}/*"),
        }
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for PathPattern {
    fn schema_name() -> Cow<'static, str> {
        "PathPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(/|.*\$)", "examples": ["/about", "/old/*"] })
    }
}

impl PathPattern {
    /// Whether it is this path, or one below it. A path with a `.` or `..` segment is none: programs read it differently.
    pub(crate) fn holds(&self, path: &DecodedPath<'_>) -> bool {
        let is_it = match self {
            Self::Exact(exact) => path.octets() == exact.as_bytes(),
            Self::Below(base) => path.octets().strip_prefix(base.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        };
        is_it && !path.has_dot_segment()
    }

    /// The same as a regular expression, whose first group is what `/*` stands for.
    pub(crate) fn regex(&self) -> Result<Regex, String> {
        let regex = match self {
            Self::Exact(path) => whole(&regex::escape(path)),
            Self::Below(path) => whole(&format!("{}(/.*)?", regex::escape(path))),
        };
        regex.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, path: &str) -> bool {
        PathPattern::try_from(pattern.to_owned()).unwrap().holds(&DecodedPath::new(path))
    }

    #[test]
    fn a_path_is_meant_alone_and_with_a_star_what_is_below_it_too() {
        assert!(holds("/up", "/up") && holds("/up", "/%75p"));
        assert!(!holds("/up", "/up/") && !holds("/up", "/upper") && !holds("/up", "/"));
        assert!(holds("/static/*", "/static") && holds("/static/*", "/static/a/b.css") && !holds("/static/*", "/statics"));
        assert!(holds("/*", "/") && holds("/*", "/anything"));
    }

    #[test]
    fn a_path_that_leads_out_again_is_not_meant() {
        for path in ["/static/../admin", "/static/%2e%2e/admin", "/static/..\\admin", "/static/./a"] {
            assert!(!holds("/static/*", path), "{path}");
        }
    }
}
