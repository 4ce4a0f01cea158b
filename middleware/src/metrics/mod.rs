//! Figures about a running stack, in the families that Prometheus knows.
//!
//! This is no `prometheus-client` or `prometheus`: there a family has one owner, which registers it with the process. Here two layers of one kind, at
//! two places, add to the same family, and each scrape asks the layers of the current stack, so that the series of a worker that is gone end with it. What the
//! crates would save is the writing of the text, about sixty lines.
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

/// What one scrape finds: families in the order they were first spoken of. Its `Display` is the text that Prometheus reads, of the type
/// [`Metrics::CONTENT_TYPE`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    families: Vec<Family>,
}

impl Metrics {
    /// The media type of the text exposition format, version 0.0.4.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A family of figures that only grow; `name` ends in `_total`. Several places may add samples to one family: the first one's `help` and
    /// kind stand.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(MetricKind::Counter, name, help)
    }

    /// A family of figures that rise and fall.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(MetricKind::Gauge, name, help)
    }

    /// A family of distributions; `name` ends in the unit, for instance `_seconds`.
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

/// Samples of one meaning, told apart by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name: letters, digits and `_`.
    pub name: &'static str,
    /// What it counts, in a sentence.
    pub help: &'static str,
    /// What its figures do.
    pub kind: MetricKind,
    /// One for each combination of labels.
    pub samples: Vec<Sample>,
}

/// What the figures of a family do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// They only grow, and begin at nothing with the program.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are distributions.
    Histogram,
}

impl Family {
    /// Adds a figure. Distributions belong to histograms and numbers to the others; what is of the wrong sort is left out of the text.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Into<SampleValue>) -> &mut Self {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value: value.into() });
        self
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which one of its family it is.
    pub labels: Vec<(&'static str, String)>,
    /// What it is now.
    pub value: SampleValue,
}

/// The value of a figure.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

/// How observed values are spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bounds, growing, each with the number of values at or below it.
    pub buckets: Vec<(f64, u64)>,
    /// All values together.
    pub sum: f64,
    /// How many values.
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
