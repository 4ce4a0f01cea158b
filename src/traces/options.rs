//! The part `traces` of `server` in the pipeline file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::trace::TraceId;
use ziggurat_middleware::{Client, Findings, Peer};

use crate::otlp::{Collector, Compression, Delivery, check_headers, default_service};

/// Traces of requests: a span for each request that is sampled, sent to a collector by OTLP over HTTP (protobuf). Every request gets a `traceparent` of W3C Trace Context, which apps and upstream
/// servers see.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Traces")]
pub struct TracesOptions {
    /// The URL of the collector, for instance `http://127.0.0.1:4318`. Spans are sent to `/v1/traces` below it.
    pub(super) to: Collector,

    /// The share of traces that are recorded, of those that begin here: `"5%"`, `"0.1%"`. By default all. A trace that a program in `trust` has begun is recorded if that
    /// program records it.
    #[serde(default)]
    pub(super) sample: Share,

    /// Whose `traceparent` is believed: networks such as `10.0.0.0/8`, addresses, and `unix`, of the peer of the connection. By default nobody's: a trace begins with each request, and headers of
    /// clients can neither choose its id nor have it recorded.
    #[serde(default)]
    pub(super) trust: OneOrMany<Peer>,

    /// Whether each layer and app that a request meets has a span of its own, below that of the request. Each span costs time in a request that is recorded.
    #[serde(default)]
    pub(super) layers: bool,

    /// The name of this service (`service.name`).
    #[serde(default = "default_service")]
    pub(super) service: String,

    /// Headers of the requests to the collector, for instance a token.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,

    /// Whether these requests are compressed: `"none"`, the default, or `"gzip"`.
    #[serde(default)]
    pub(super) compression: Compression,
}

impl TracesOptions {
    /// Whether layers have spans.
    pub(crate) const fn has_layers(&self) -> bool {
        self.layers
    }

    /// Reports names and values that are no headers.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        check_headers(&self.headers, findings);
    }

    /// Delivers spans to the collector.
    pub(super) fn delivery(&self, client: Client) -> Delivery {
        Delivery::new(client, self.to.url("/v1/traces"), &self.headers, self.compression)
    }
}

/// A share of all traces, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// Whether a trace that begins is one of them. It follows from the id, as other samplers of OpenTelemetry decide (TraceIdRatioBased).
    pub(super) fn takes(self, id: TraceId) -> bool {
        let low = id.0.get() as u64 >> 1;
        let bound = (u128::from(self.0) << 63) / u128::from(WHOLE);
        u128::from(low) < bound
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(WHOLE)
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{}` is no share\nhint: write a percentage from `\"0%\"` to `\"100%\"`, such as `\"5%\"` or `\"0.1%\"`",
                text.escape_debug()
            )
        };
        let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(refuse)?;
        if !number.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') {
            return Err(refuse());
        }
        let percent: f64 = number.parse().map_err(|_| refuse())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(refuse());
        }
        // Between 0 and a million.
        Ok(Self((percent * 10_000.0).round() as u32))
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9.]+ *%|.*\$.*)$", "examples": ["5%", "0.1%"] })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU128;

    use super::*;

    #[test]
    fn shares_are_percentages() {
        let share = |text: &str| Share::try_from(text.to_owned());
        for text in ["0%", "5%", "0.1%", "33.3333%", "100%"] {
            assert_eq!(share(text).unwrap().to_string(), text);
        }
        for text in ["5", "", "%", "101%", "-1%", "1e1%", "inf%", "NaN%", "5 percent"] {
            assert!(share(text).unwrap_err().contains("is no share"), "{text}");
        }
    }

    #[test]
    fn a_share_takes_its_part_of_the_ids() {
        let ids =
            || (1..10_000_u128).map(|nth| TraceId(NonZeroU128::new(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).unwrap()));
        let taken = |text: &str| ids().filter(|id| Share::try_from(text.to_owned()).unwrap().takes(*id)).count();
        assert_eq!((taken("0%"), taken("100%")), (0, 9_999));
        assert!((400..600).contains(&taken("5%")), "{}", taken("5%"));
    }
}
