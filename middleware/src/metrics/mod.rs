//! Metrics of a running stack, as families of Prometheus.
//!
//! The crates `prometheus-client` and `prometheus` are not used: their families have one owner, which registers them for the whole process. Here, two layers of one
//! kind add samples to the same family, and each scrape calls the hooks of the current stack, so that the series of a worker end with the worker. The crates
//! would save about sixty lines that write the text.
//!
//! ```
//! use ziggurat_middleware::{Metrics, metrics::Counter};
//!
//! let refused = Counter::default();
//! refused.add(1);
//! let mut metrics = Metrics::default();
//! metrics.counter("refused_total", "Requests refused.").sample(&[("why", "limit")], &refused);
//! assert_eq!(metrics.to_string(), "# HELP refused_total Requests refused.\n# TYPE refused_total counter\nrefused_total{why=\"limit\"} 1\n");
//! ```

mod exposition;
mod values;

pub use values::{Counter, Histogram};

/// The result of one scrape: families in the order in which they were first used. `Display` writes the text format, whose media type is
/// [`Metrics::CONTENT_TYPE`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    families: Vec<Family>,
}

impl Metrics {
    /// The media type of the text exposition format, version 0.0.4.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A family of counters; `name` ends in `_total`. If several places add samples to a family, the first `help` and kind are used.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(MetricKind::Counter, name, help)
    }

    /// A family of gauges.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(MetricKind::Gauge, name, help)
    }

    /// A family of histograms; `name` ends in the unit, for instance `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(MetricKind::Histogram, name, help)
    }

    /// All families.
    #[must_use]
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    fn family(&mut self, kind: MetricKind, name: &'static str, help: &'static str) -> &mut Family {
        let at = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        &mut self.families[at]
    }
}

/// Samples of one metric, distinguished by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name: letters, digits and `_`.
    pub name: &'static str,
    /// What it measures, in a sentence.
    pub help: &'static str,
    /// The kind of metric.
    pub kind: MetricKind,
    /// One sample for each combination of labels.
    pub samples: Vec<Sample>,
}

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Values that only grow, from 0 at the start of the program.
    Counter,
    /// Values that rise and fall.
    Gauge,
    /// Distributions of observed values.
    Histogram,
}

impl Family {
    /// Adds a sample. A histogram takes distributions, and the other kinds take numbers; a sample of the wrong sort is left out of the text.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Into<SampleValue>) -> &mut Self {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value: value.into() });
        self
    }
}

/// One value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels.
    pub labels: Vec<(&'static str, String)>,
    /// The current value.
    pub value: SampleValue,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// The value of a counter or a gauge.
    Number(f64),
    /// The value of a histogram.
    Distribution(Distribution),
}

/// The distribution of observed values.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bounds in ascending order, each with the number of values at or below it.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all values.
    pub sum: f64,
    /// The number of values.
    pub count: u64,
}

impl From<f64> for SampleValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for SampleValue {
    fn from(number: u64) -> Self {
        // Exact up to 2^53, which no figure reaches.
        Self::Number(number as f64)
    }
}

impl From<usize> for SampleValue {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<bool> for SampleValue {
    fn from(holds: bool) -> Self {
        Self::Number(holds.into())
    }
}

impl From<Distribution> for SampleValue {
    fn from(distribution: Distribution) -> Self {
        Self::Distribution(distribution)
    }
}
