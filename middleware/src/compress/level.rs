//! The compression level.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// `"fastest"`, `"default"`, `"best"`, or a number from 1 to 9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Level {
    /// zstd 3, brotli 4, gzip 6.
    #[default]
    Default,
    /// The same number for each.
    Number(u8),
}

impl Level {
    const FASTEST: u8 = 1;
    /// Higher levels of brotli and zstd take seconds.
    const BEST: u8 = 9;

    pub(super) fn zstd(self) -> i32 {
        self.number_or(3).into()
    }

    pub(super) fn br(self) -> i32 {
        self.number_or(4).into()
    }

    pub(super) fn gzip(self) -> u32 {
        self.number_or(6).into()
    }

    const fn number_or(self, default: u8) -> u8 {
        match self {
            Self::Default => default,
            Self::Number(number) => number,
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LevelVisitor;

        impl Visitor<'_> for LevelVisitor {
            type Value = Level;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`\"fastest\"`, `\"default\"`, `\"best\"` or a number from 1 to 9")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Level, E> {
                match word {
                    "fastest" => Ok(Level::Number(Level::FASTEST)),
                    "default" => Ok(Level::Default),
                    "best" => Ok(Level::Number(Level::BEST)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Level, E> {
                match u8::try_from(number) {
                    Ok(level @ Level::FASTEST..=Level::BEST) => Ok(Level::Number(level)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(LevelVisitor)
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_str("default"),
            Self::Number(number) => serializer.serialize_u8(*number),
        }
    }
}

impl JsonSchema for Level {
    fn schema_name() -> Cow<'static, str> {
        "CompressionLevel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["fastest", "default", "best"] },
            { "type": "integer", "minimum": Self::FASTEST, "maximum": Self::BEST }
        ] })
    }
}
