//! The values of a header, a cookie or a parameter.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ziggurat_middleware::{Finding, Findings};

/// What the values of a header, a cookie or a parameter have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// There is one.
    Any,
    /// There is none.
    Absent,
    /// There is one of these.
    OneOf(Vec<String>),
}

impl Values {
    /// Whether the values given fulfil it; `same` compares one of them with a text.
    pub(super) fn hold<T>(&self, mut given: impl Iterator<Item = T>, same: impl Fn(&T, &str) -> bool) -> bool {
        match self {
            Self::Any => given.next().is_some(),
            Self::Absent => given.next().is_none(),
            Self::OneOf(texts) => given.any(|value| texts.iter().any(|text| same(&value, text))),
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any | Self::OneOf(_)) | (Self::Absent, Self::Absent) => true,
            (Self::OneOf(own), Self::OneOf(texts)) => texts.iter().all(|text| own.contains(text)),
            _ => false,
        }
    }

    /// Whether some values fulfil both. A request may have several.
    pub(super) const fn meets(&self, other: &Self) -> bool {
        matches!(self, Self::Absent) == matches!(other, Self::Absent)
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
            Self::Absent => serializer.serialize_bool(false),
            Self::OneOf(texts) => texts.serialize(serializer),
        }
    }
}

struct ValuesVisitor;

impl<'de> de::Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, `true` for any value, or `false` for none")
    }

    fn visit_bool<E: de::Error>(self, any: bool) -> Result<Values, E> {
        Ok(if any { Values::Any } else { Values::Absent })
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
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }, { "type": "boolean" }] })
    }
}
