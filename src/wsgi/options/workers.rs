//! The number of worker processes: a number, or one per core.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The most worker processes an app may have.
pub(in crate::wsgi) const MOST_WORKERS: u64 = 256;

/// How many worker processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wsgi) enum Workers {
    /// One per core.
    #[default]
    Auto,
    Number(u64),
}

impl Workers {
    /// The number on this machine.
    pub(in crate::wsgi) fn count(self) -> usize {
        let most = usize::try_from(MOST_WORKERS).unwrap_or(usize::MAX);
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, NonZero::get).min(most),
            Self::Number(number) => usize::try_from(number).unwrap_or(most).min(most),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WorkersVisitor;

        impl Visitor<'_> for WorkersVisitor {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of worker processes, or \"auto\" for one per core")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Workers, E> {
                Ok(Workers::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers::Auto),
                    text => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(WorkersVisitor)
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Workers")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": MOST_WORKERS }, { "const": "auto" }] })
    }
}
