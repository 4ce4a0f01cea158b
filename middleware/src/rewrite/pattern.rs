//! Which paths a rule takes.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use regex::bytes::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use crate::path::whole;

/// A path, or with `/*` at its end that path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum PathPattern {
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
    /// The same as a regular expression, whose first group is what `/*` stands for.
    pub(super) fn regex(&self) -> Result<Regex, String> {
        let regex = match self {
            Self::Exact(path) => whole(&regex::escape(path)),
            Self::Below(path) => whole(&format!("{}(/.*)?", regex::escape(path))),
        };
        regex.map_err(|error| error.to_string())
    }
}
