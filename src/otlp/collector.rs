//! Options about a collector.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings};

/// The base URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Collector(Uri);

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip (RFC 1952).
    Gzip,
}

/// The name of a service that has none (`service.name`).
pub(crate) fn default_service() -> String {
    "ziggurat".to_owned()
}

/// Reports names and values that are no headers.
pub(crate) fn check_headers(headers: &BTreeMap<String, String>, findings: &mut Findings) {
    for (name, value) in headers {
        if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
            // The value may be secret.
            findings.push(Finding::new(format!("`{name}` is no header, or its value is none")).at("headers").at(name.as_str()));
        }
    }
}

/// The headers of requests to the collector.
pub(super) fn headers(options: &BTreeMap<String, String>) -> HeaderMap {
    let header = |(name, value): (&String, &String)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    options.iter().filter_map(header).collect()
}

/// Where signals are sent, below the base URL.
const PATHS: [&str; 2] = ["/v1/traces", "/v1/metrics"];

impl Collector {
    /// The URL that a signal is sent to: `/v1/traces` or `/v1/metrics` below the base.
    pub(crate) fn url(&self, path: &str) -> Uri {
        let mut parts = self.0.clone().into_parts();
        let base = self.0.path().trim_end_matches('/');
        parts.path_and_query = PathAndQuery::try_from(format!("{base}{path}")).ok();
        Uri::from_parts(parts).unwrap_or_else(|_| self.0.clone())
    }
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const HINT: &str = "write the base URL of the collector, as in `\"http://127.0.0.1:4318\"`";
        let uri: Uri = text.parse().map_err(|_| format!("`{}` is no URL\nhint: {HINT}", text.escape_debug()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(format!("`{text}` is no URL of HTTP\nhint: {HINT}"));
        }
        if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("a collector's URL has neither a query nor a user\nhint: {HINT}; tokens go into `headers`"));
        }
        if let Some(path) = PATHS.iter().find(|path| uri.path().ends_with(**path)) {
            return Err(format!("`{path}` is added to the URL\nhint: {HINT}"));
        }
        Ok(Self(uri))
    }
}

impl From<Collector> for String {
    fn from(collector: Collector) -> Self {
        collector.0.to_string()
    }
}

impl JsonSchema for Collector {
    fn schema_name() -> Cow<'static, str> {
        "Collector".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(https?://.+|.*\$.*)$", "examples": ["http://127.0.0.1:4318"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_signal_is_below_that_of_the_collector() {
        for (to, url) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://collector/", "https://collector/v1/traces"),
            ("https://collector/otlp/", "https://collector/otlp/v1/traces"),
        ] {
            assert_eq!(Collector::try_from(to.to_owned()).unwrap().url("/v1/traces"), url);
        }
        for to in
            ["collector:4318", "grpc://collector", "http://", "http://a/v1/traces", "http://a/v1/metrics", "http://a?b", "http://u:p@a", ""]
        {
            assert!(Collector::try_from(to.to_owned()).is_err(), "{to}");
        }
    }
}
