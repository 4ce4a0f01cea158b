//! How many WebSockets an app may have, and how long they may be silent.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use ziggurat_middleware::units::Duration;

/// The most WebSockets an app may have.
pub(super) const MOST_WEBSOCKETS: u64 = 10_000;

/// The WebSockets of an app. A number is the limit alone.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wsgi) struct WebSockets {
    pub(in crate::wsgi) limit: u64,
    pub(in crate::wsgi) idle: Option<Duration>,
}

/// The object.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebSocketLimits")]
struct Limits {
    /// How many may be open at once.
    #[schemars(range(min = 0, max = 10_000))]
    limit: u64,
    /// How long a WebSocket may carry nothing in either direction before it is closed. It should be longer than the time between two pings. Default: the
    /// `keep_alive` of `server`.
    #[serde(default)]
    idle: Option<Duration>,
}

impl<'de> Deserialize<'de> for WebSockets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WebSocketsVisitor;

        impl<'de> Visitor<'de> for WebSocketsVisitor {
            type Value = WebSockets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of WebSockets, or an object with `limit` and `idle`")
            }

            fn visit_u64<E: de::Error>(self, limit: u64) -> Result<WebSockets, E> {
                Ok(WebSockets { limit, idle: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WebSockets, A::Error> {
                let Limits { limit, idle } = Limits::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WebSockets { limit, idle })
            }
        }

        deserializer.deserialize_any(WebSocketsVisitor)
    }
}

impl Serialize for WebSockets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.idle {
            None => serializer.serialize_u64(self.limit),
            Some(_) => Limits { limit: self.limit, idle: self.idle }.serialize(serializer),
        }
    }
}

impl JsonSchema for WebSockets {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("WebSockets")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let limits = generator.subschema_for::<Limits>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": MOST_WEBSOCKETS }, limits] })
    }
}
