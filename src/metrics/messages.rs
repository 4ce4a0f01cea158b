//! The messages of OTLP for metrics (opentelemetry-proto 1.x): `opentelemetry/proto/metrics/v1`.

use std::time::SystemTime;

use prost::{Message, Oneof};
use ziggurat_middleware::Metrics;
use ziggurat_middleware::metrics::{Distribution, Family, MetricKind, Sample, SampleValue};

use crate::otlp::{KeyValue, Resource, SCHEMA, Scope, Value, nanoseconds, pair};

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(message, repeated, tag = "1")]
    points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
struct NumberPoint {
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "3")]
    time: u64,
    #[prost(oneof = "Number", tags = "4")]
    value: Option<Number>,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
}

/// A oneof, so that a 0 is sent, too.
#[derive(Clone, PartialEq, Oneof)]
enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
}

#[derive(Clone, PartialEq, Message)]
struct HistogramPoint {
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "3")]
    time: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: values count from the start, so that one that is lost takes nothing away.
const CUMULATIVE: i32 = 2;

/// The request that exports the metrics of a service. What grows has grown since `start`.
pub(super) fn encode(service: &str, metrics: &Metrics, start: SystemTime, now: SystemTime) -> Vec<u8> {
    let times = (nanoseconds(start), nanoseconds(now));
    let metrics = metrics.families().iter().map(|family| metric(family, times)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(Scope::own()), metrics }];
    let resource_metrics = ResourceMetrics { resource: Some(Resource::of(service)), scope_metrics, schema_url: SCHEMA.to_owned() };
    ExportRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let numbers = |times| family.samples.iter().filter_map(move |sample| number(sample, times)).collect();
    let data = match family.kind {
        MetricKind::Gauge => Data::Gauge(Gauge { points: numbers((0, times.1)) }),
        MetricKind::Counter => Data::Sum(Sum { points: numbers(times), temporality: CUMULATIVE, is_monotonic: true }),
        MetricKind::Histogram => {
            let points = family.samples.iter().filter_map(|sample| distribution(sample, times)).collect();
            Data::Histogram(Histogram { points, temporality: CUMULATIVE })
        }
    };
    // Prometheus has the sort of a metric and its unit in its name. What stores OTLP there adds `_total` again.
    let name = family.name.strip_suffix("_total").unwrap_or(family.name);
    Metric { name: name.to_owned(), description: family.help.to_owned(), unit: unit(name).to_owned(), data: Some(data) }
}

/// The unit in UCUM, as the name of Prometheus ends in it.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn number(sample: &Sample, (start, time): (u64, u64)) -> Option<NumberPoint> {
    let SampleValue::Number(number) = sample.value else { return None };
    Some(NumberPoint { start, time, value: Some(Number::Double(number)), attributes: attributes(sample) })
}

fn distribution(sample: &Sample, (start, time): (u64, u64)) -> Option<HistogramPoint> {
    let SampleValue::Distribution(Distribution { buckets, sum, count }) = &sample.value else { return None };
    // Those of Prometheus add up, those of OTLP do not, and have one above the last bound.
    let mut below = 0;
    let ends = buckets.iter().map(|(_, count)| *count).chain([*count]);
    let bucket_counts = ends.map(|end| end.saturating_sub(std::mem::replace(&mut below, end))).collect();
    let bounds = buckets.iter().map(|(bound, _)| *bound).collect();
    Some(HistogramPoint { start, time, count: *count, sum: Some(*sum), bucket_counts, bounds, attributes: attributes(sample) })
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample.labels.iter().map(|(name, value)| pair(name, Value::Text(value.clone()))).collect()
}
