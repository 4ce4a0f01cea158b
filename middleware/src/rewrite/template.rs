//! The new path: text with gaps.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A path with gaps, and what becomes of the query.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template {
    text: String,
    pub(super) path: Vec<Piece>,
    /// Whether `/*` follows `path`.
    pub(super) has_rest: bool,
    pub(super) query: NewQuery,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// `{path}`, `{1}` or `{name}`.
    Gap(String),
}

/// The query that a rewritten request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewQuery {
    /// That of the client.
    Kept,
    /// Another one.
    Replaced {
        pieces: Vec<Piece>,
        /// Whether that of the client follows.
        then_kept: bool,
    },
}

impl Template {
    /// As the file writes it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = |why: &str, hint: &str| Err(format!("`{}` {why}\nhint: {hint}", text.escape_debug()));
        let (body, keeps_query) = match text.strip_suffix("{query}") {
            Some(body) => (body, true),
            None => (text.as_str(), false),
        };
        let (path, query) = match body.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (body, None),
        };
        if !(path.starts_with('/') || path.starts_with("{path}")) {
            return refuse("is not a path", "a path begins with `/`; to send clients to another address there is the app `redirect`");
        }
        if path.starts_with("//") || path.starts_with("/{path}") {
            return refuse("begins with two slashes", "write one");
        }
        if !text.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|')) {
            return refuse("holds characters that no path has", "percent-encode them");
        }
        if !is_encoded_well(&text) {
            return refuse("holds a `%` that encodes nothing", "write `%25` for the character itself");
        }
        if path.split('/').any(|segment| percent_decode_str(segment).eq(*b".") || percent_decode_str(segment).eq(*b"..")) {
            return refuse("holds a `.` or `..` segment", "write the path without it");
        }
        let (path, has_rest) = match path.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (path, false),
        };
        if path.contains('*') {
            return refuse("holds a `*` that is not at the end of its path", "write `/*` there, or match with `regex` and use its groups");
        }
        let query = match query {
            Some(query) => NewQuery::Replaced { pieces: pieces(query, &text)?, then_kept: keeps_query },
            None => NewQuery::Kept,
        };
        Ok(Self { path: pieces(path, &text)?, has_rest, query, text })
    }
}

fn pieces(part: &str, text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = part;
    while let Some(open) = rest.find(['{', '}']) {
        let (before, at) = rest.split_at(open);
        let end = at.find('}').filter(|_| at.starts_with('{')).ok_or_else(|| {
            format!("`{text}` holds a brace without its partner\nhint: gaps are written `{{1}}`, `{{name}}`, `{{path}}` and `{{query}}`")
        })?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match &at[1..end] {
            "query" => return Err(format!("`{{query}}` stands at the end of `{text}` or nowhere\nhint: as in `/new?page=1{{query}}`")),
            name => Piece::Gap(name.to_owned()),
        });
        rest = &at[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn is_encoded_well(text: &str) -> bool {
    text.split('%').skip(1).all(|after| matches!(after.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "RewriteTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["/new/*", "/search?tag={tag}{query}"] })
    }
}
