//! The part `metrics` of `server` in the pipeline file.

use std::collections::BTreeMap;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Client, Finding, Findings};

use crate::otlp::{Collector, Compression, Delivery, check_headers, default_service};

/// The metrics that the app `metrics` shows, sent to a collector by OTLP over HTTP (protobuf).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SentMetrics")]
pub struct MetricsOptions {
    /// The URL of the collector, for instance `http://127.0.0.1:4318`. Metrics are sent to `/v1/metrics` below it.
    pub(super) to: Collector,

    /// How often they are sent: by default each minute, at least 1 second.
    #[serde(default = "every")]
    pub(super) every: Duration,

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

const fn every() -> Duration {
    Duration::secs(60)
}

impl MetricsOptions {
    /// Reports names and values that are no headers, and a time that is too short.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        check_headers(&self.headers, findings);
        if self.every.0 < time::Duration::from_secs(1) {
            findings.push(Finding::new("metrics are sent every second at most").at("every").hint("write a time such as `\"10s\"`"));
        }
    }

    /// Delivers metrics to the collector.
    pub(super) fn delivery(&self, client: Client) -> Delivery {
        Delivery::new(client, self.to.url("/v1/metrics"), &self.headers, self.compression)
    }
}
