//! Whether the app is imported before workers are forked.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

/// Whether a process imports the app once and forks the workers.
#[derive(Debug, Default)]
pub(in crate::wsgi) struct Preload(pub(in crate::wsgi) Option<WarmUp>);

/// What to do before the first fork.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::wsgi) struct WarmUp {
    /// Paths that are requested once before the first worker is forked, so that what the app sets up at its first request is shared, too. The
    /// responses are discarded.
    #[serde(default)]
    pub(in crate::wsgi) warm_up: Vec<String>,
}

impl<'de> Deserialize<'de> for Preload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PreloadVisitor;

        impl<'de> Visitor<'de> for PreloadVisitor {
            type Value = Preload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false`, or an object with paths to warm up with")
            }

            fn visit_bool<E: de::Error>(self, preload: bool) -> Result<Preload, E> {
                Ok(Preload(preload.then(WarmUp::default)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Preload, A::Error> {
                WarmUp::deserialize(MapAccessDeserializer::new(map)).map(|warm_up| Preload(Some(warm_up)))
            }
        }

        deserializer.deserialize_any(PreloadVisitor)
    }
}

impl JsonSchema for Preload {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Preload")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let warm_up = generator.subschema_for::<WarmUp>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, warm_up] })
    }
}
