//! A regular expression for a whole path.

use std::borrow::Cow;
use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// The most memory that a compiled expression takes.
const LARGEST: usize = 1 << 20;

/// A regular expression for a whole path without its percent-encoding, in the syntax of the crate `regex`, which matches in linear time.
///
/// `.` matches every octet, so that an encoded line end, or what is not UTF-8, is no way around an expression; `\w`, `\d` and so on match ASCII.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct PathRegex {
    text: String,
    pub(crate) regex: Regex,
}

impl PathRegex {
    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole path matches.
    #[must_use]
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }

    /// The names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// Where the groups with a name matched. A group that took no part in the match is empty.
    #[must_use]
    pub fn captures(&self, path: &[u8]) -> Option<Vec<(&str, Range<usize>)>> {
        let groups = self.regex.captures(path)?;
        Some(self.names().map(|name| (name, groups.name(name).map_or(0..0, |group| group.range()))).collect())
    }
}

impl TryFrom<String> for PathRegex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The text alone has to be an expression: in `a)|(b` the anchors would belong to one alternative each.
        let parsed = ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build().parse(&text);
        let reason = match parsed {
            Ok(_) => match whole(&text) {
                Ok(regex) => return Ok(Self { text, regex }),
                Err(error) => error.to_string(),
            },
            Err(regex_syntax::Error::Parse(error)) => at(error.kind(), error.span().start.column),
            Err(regex_syntax::Error::Translate(error)) => at(error.kind(), error.span().start.column),
            Err(error) => error.to_string(),
        };
        Err(format!("`{}` is not a regular expression: {reason}\nhint: the syntax is that of the crate `regex`", text.escape_debug()))
    }
}

fn at(reason: impl std::fmt::Display, column: usize) -> String {
    format!("{reason}, at its character {column}")
}

/// The expression between the beginning and the end of a path.
pub(crate) fn whole(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!(r"\A(?:{text})\z")).dot_matches_new_line(true).unicode(false).size_limit(LARGEST).build()
}

impl Serialize for PathRegex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for PathRegex {
    fn schema_name() -> Cow<'static, str> {
        "PathRegex".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["/users/(?<id>[0-9]+)"] })
    }
}
