//! The messages of OTLP that every signal has (opentelemetry-proto 1.x, `opentelemetry/proto/common/v1` and `resource/v1`), whose field numbers are stable.
//!
//! The crate opentelemetry-proto has them too, and brings the whole SDK along.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// The version of the semantic conventions that attributes follow.
pub(crate) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Resource {
    /// A service that this program serves.
    pub(crate) fn of(service: &str) -> Self {
        let attributes = [
            ("service.name", service),
            ("telemetry.sdk.name", "ziggurat"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", VERSION),
        ];
        Self { attributes: attributes.into_iter().map(|(key, value)| pair(key, Value::Text(value.to_owned()))).collect() }
    }
}

impl Scope {
    /// What records: this program.
    pub(crate) fn own() -> Self {
        Self { name: "ziggurat".to_owned(), version: VERSION.to_owned() }
    }
}

/// An attribute.
pub(crate) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

/// Since 1970.
pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
