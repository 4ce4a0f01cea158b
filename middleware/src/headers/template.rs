//! The value of a header: text, with parts of the path by name.

use std::borrow::Cow;
use std::str::FromStr;

use http::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text;
use crate::path::{PathParams, is_param_name};
use crate::units::HeaderText;

/// The value of a header. `{name}` is a part of the path, `{{name}}` the text itself, and any other brace stands for itself: values may be JSON.
#[derive(Clone, Debug)]
pub(super) struct HeaderTemplate {
    text: HeaderText,
    /// Nothing where the text is the value.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Param(String),
}

impl HeaderTemplate {
    /// The names in it.
    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Param(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The value for a request with these parts of its path. A name that its path does not have is empty.
    pub(super) fn fill(&self, params: Option<&PathParams>) -> HeaderValue {
        if self.pieces.is_empty() {
            return self.text.0.clone();
        }
        let mut value = String::new();
        for piece in &self.pieces {
            value.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Param(name) => params.and_then(|params| params.get(name)).unwrap_or_default(),
            });
        }
        // Text and params are both sound, so that their sum is.
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl FromStr for HeaderTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole: HeaderText = text.parse()?;
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, at) = rest.split_at(open);
            literal.push_str(before);
            if let Some((name, after)) = enclosed(at, "{{", "}}") {
                literal.extend(["{", name, "}"]);
                rest = after;
            } else if let Some((name, after)) = enclosed(at, "{", "}") {
                pieces.extend([Piece::Text(std::mem::take(&mut literal)), Piece::Param(name.to_owned())]);
                rest = after;
            } else {
                literal.push('{');
                rest = &at[1..];
            }
        }
        literal.push_str(rest);
        if pieces.is_empty() && literal == text {
            return Ok(Self { text: whole, pieces });
        }
        pieces.push(Piece::Text(literal));
        Ok(Self { text: whole, pieces })
    }
}

/// The name between these braces at the start of a text, and what follows.
fn enclosed<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(open)?.split_once(close).filter(|(name, _)| is_param_name(name))
}

impl<'de> Deserialize<'de> for HeaderTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "the text of a header's value")
    }
}

impl Serialize for HeaderTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.text)
    }
}

impl JsonSchema for HeaderTemplate {
    fn schema_name() -> Cow<'static, str> {
        HeaderText::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        HeaderText::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::DecodedPath;

    #[test]
    fn names_are_filled_and_other_braces_stay() {
        let mut params = PathParams::default();
        params.insert("id".into(), &DecodedPath::new("/%0d%0ax: y"), 1..7);
        for (text, value, names) in [
            ("plain", "plain", 0),
            ("{id}", "%0d%0ax:%20y", 1),
            ("a{id}b{other}c", "a%0d%0ax:%20ybc", 2),
            ("{{id}}", "{id}", 0),
            (r#"{"group":{"a":1}}"#, r#"{"group":{"a":1}}"#, 0),
            ("</users{?page}>; {", "</users{?page}>; {", 0),
            ("{1}{}{a-b}", "{1}{}{a-b}", 0),
        ] {
            let template: HeaderTemplate = text.parse().unwrap();
            assert_eq!((template.fill(Some(&params)).to_str().unwrap(), template.params().count()), (value, names), "{text}");
        }
        assert_eq!("x{id}".parse::<HeaderTemplate>().unwrap().fill(None), "x");
        assert!("{id}\r\nx: y".parse::<HeaderTemplate>().is_err());
    }
}
