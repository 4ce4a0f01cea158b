//! OTLP over HTTP (protobuf), as far as traces and metrics have it in common: the collector's URL, a request that delivers something, and the messages about who sends it.

mod collector;
mod delivery;
mod messages;

pub(crate) use collector::{Collector, Compression, check_headers, default_service};
pub(crate) use delivery::Delivery;
pub(crate) use messages::{KeyValue, Resource, SCHEMA, Scope, Value, nanoseconds, pair};
