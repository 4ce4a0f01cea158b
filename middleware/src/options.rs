//! Types for options.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// One value or a list of values. A list of one value may be written without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(text.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        // `T` gives the better error.
        T::deserialize(().into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A value, or `false` for none, for an option with a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrFalse<T>(pub Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrFalse<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrFalseVisitor(PhantomData))
    }
}

impl<T: Serialize> Serialize for OrFalse<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }
}

struct OrFalseVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrFalseVisitor<T> {
    type Value = OrFalse<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or `false` for none")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        if value { Err(E::invalid_value(de::Unexpected::Bool(true), &self)) } else { Ok(OrFalse(None)) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(text.into_deserializer()).map(|value| OrFalse(Some(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| OrFalse(Some(value)))
    }
}

impl<T: JsonSchema> JsonSchema for OrFalse<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OrFalse_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [value, { "const": false }] })
    }
}

/// Reads a value from its text. `expecting` describes the value in errors.
///
/// ```
/// use std::str::FromStr;
///
/// use serde::{Deserialize, Deserializer};
/// use ziggurat_middleware::options::from_text;
///
/// /// A percentage such as `"25%"`.
/// #[derive(Debug, PartialEq)]
/// struct Percentage(u8);
///
/// impl FromStr for Percentage {
///     type Err = String;
///
///     fn from_str(text: &str) -> Result<Self, String> {
///         let number = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|number| *number <= 100);
///         number.map(Self).ok_or_else(|| format!("`{text}` is not a percentage\nhint: write `\"25%\"`"))
///     }
/// }
///
/// impl<'de> Deserialize<'de> for Percentage {
///     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
///         from_text(deserializer, "a percentage such as \"25%\"")
///     }
/// }
///
/// assert_eq!(serde_json::from_str::<Percentage>(r#""25%""#).unwrap(), Percentage(25));
/// ```
///
/// # Errors
///
/// If the value is not a string, or cannot be parsed.
pub fn from_text<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D, expecting: &'static str) -> Result<T, D::Error> {
    deserializer.deserialize_str(TextVisitor { expecting, takes_numbers: false, value: PhantomData })
}

/// As [`from_text`]. A number is parsed as text, too, so that the error names the missing unit.
pub(crate) fn from_text_or_number<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(
    deserializer: D,
    expecting: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor { expecting, takes_numbers: true, value: PhantomData })
}

struct TextVisitor<T> {
    expecting: &'static str,
    takes_numbers: bool,
    value: PhantomData<T>,
}

impl<T: FromStr<Err = String>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        if self.takes_numbers { self.visit_str(&number.to_string()) } else { Err(E::invalid_type(de::Unexpected::Unsigned(number), &self)) }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        if self.takes_numbers { self.visit_str(&number.to_string()) } else { Err(E::invalid_type(de::Unexpected::Signed(number), &self)) }
    }
}
