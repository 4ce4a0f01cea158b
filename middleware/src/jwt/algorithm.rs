//! The algorithms of signatures (RFC 7518 section 3.1, RFC 8037).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm as Signature;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text;

/// An algorithm that a token may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Algorithm(pub(super) Signature);

impl Algorithm {
    const ALL: [(&'static str, Signature); 12] = [
        ("RS256", Signature::RS256),
        ("RS384", Signature::RS384),
        ("RS512", Signature::RS512),
        ("PS256", Signature::PS256),
        ("PS384", Signature::PS384),
        ("PS512", Signature::PS512),
        ("ES256", Signature::ES256),
        ("ES384", Signature::ES384),
        ("EdDSA", Signature::EdDSA),
        ("HS256", Signature::HS256),
        ("HS384", Signature::HS384),
        ("HS512", Signature::HS512),
    ];

    /// The algorithm with this name, where it is one of these.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, signature)| Self(*signature))
    }

    /// Whether who can verify such a signature can also make one.
    pub(crate) const fn is_symmetric(self) -> bool {
        matches!(self.0, Signature::HS256 | Signature::HS384 | Signature::HS512)
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::named(text).ok_or_else(|| match text {
            "none" => "`none` is no signature: anybody could write such a token".to_owned(),
            _ => {
                let names: Vec<String> = Self::ALL.iter().map(|(name, _)| format!("`{name}`")).collect();
                format!("`{}` is not an algorithm of signatures\nhint: they are {}", text.escape_debug(), names.join(", "))
            }
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, signature)| *signature == self.0).map_or("", |(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an algorithm such as \"RS256\"")
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Algorithm {
    fn schema_name() -> Cow<'static, str> {
        "Algorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
        json_schema!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": r"\$" }] })
    }
}
