//! Patterns of methods and schemes, and what patterns of text have in common.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::Scheme;

/// Reads, prints and describes a pattern that is written as text.
macro_rules! text_pattern {
    ($type:ident, $expecting:literal, $schema:tt) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                ziggurat_middleware::options::from_text(deserializer, $expecting)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(super) use text_pattern;

/// The scheme by which the client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Scheme")]
pub(super) enum SchemeName {
    Http,
    Https,
}

impl SchemeName {
    pub(super) const fn holds(self, scheme: Scheme) -> bool {
        matches!((self, scheme), (Self::Http, Scheme::Http) | (Self::Https, Scheme::Https))
    }
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

    /// Whether some method matches both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
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

text_pattern!(Method, "a method such as \"GET\"", { "type": "string", "examples": ["GET", "POST"] });
