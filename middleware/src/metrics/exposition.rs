//! Metrics as text: the Prometheus exposition format, version 0.0.4.

use std::fmt::{self, Display, Formatter, Write};

use super::{Distribution, Family, MetricKind, Metrics, Sample, SampleValue};

impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.families().iter().try_for_each(|family| family.fmt(f))
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, help, kind, samples } = self;
        write!(f, "# HELP {name} ")?;
        escape(f, help, false)?;
        writeln!(f, "\n# TYPE {name} {kind}")?;
        for Sample { labels, value } in samples {
            match (kind, value) {
                (MetricKind::Histogram, SampleValue::Distribution(distribution)) => histogram(f, name, labels, distribution)?,
                (MetricKind::Counter | MetricKind::Gauge, SampleValue::Number(number)) => line(f, name, "", labels, None, *number)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Display for MetricKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

type Labels = [(&'static str, String)];

fn histogram(f: &mut Formatter<'_>, name: &str, labels: &Labels, distribution: &Distribution) -> fmt::Result {
    let count = distribution.count as f64;
    for (bound, at_or_below) in &distribution.buckets {
        line(f, name, "_bucket", labels, Some(*bound), *at_or_below as f64)?;
    }
    line(f, name, "_bucket", labels, Some(f64::INFINITY), count)?;
    line(f, name, "_sum", labels, None, distribution.sum)?;
    line(f, name, "_count", labels, None, count)
}

/// `name_suffix{label="value",le="bound"} number`
fn line(f: &mut Formatter<'_>, name: &str, suffix: &str, labels: &Labels, bound: Option<f64>, number: f64) -> fmt::Result {
    write!(f, "{name}{suffix}")?;
    let mut before = '{';
    for (label, value) in labels {
        write!(f, "{before}{label}=\"")?;
        escape(f, value, true)?;
        f.write_char('"')?;
        before = ',';
    }
    if let Some(bound) = bound {
        write!(f, "{before}le=\"{}\"", Number(bound))?;
        before = ',';
    }
    if before == ',' {
        f.write_char('}')?;
    }
    writeln!(f, " {}", Number(number))
}

/// Quotes are escaped inside of quotes.
fn escape(f: &mut Formatter<'_>, text: &str, quoted: bool) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '"' if quoted => f.write_str("\\\""),
        c => f.write_char(c),
    })
}

/// A number in the syntax of Go.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_one_name_are_one_family() {
        let mut metrics = Metrics::default();
        metrics.counter("a_total", "First.").sample(&[("app", "x")], 1_u64);
        metrics.gauge("b", "Second.").sample(&[], -0.5);
        metrics.counter("a_total", "Not shown.").sample(&[("app", "y")], 2_u64);
        insta::assert_snapshot!(metrics.to_string(), @r#"
        # HELP a_total First.
        # TYPE a_total counter
        a_total{app="x"} 1
        a_total{app="y"} 2
        # HELP b Second.
        # TYPE b gauge
        b -0.5
        "#);
    }

    #[test]
    fn a_histogram_has_its_labels_on_every_line() {
        let mut metrics = Metrics::default();
        let spread = Distribution { buckets: vec![(0.5, 1), (1.0, 3)], sum: 4.25, count: 4 };
        metrics.histogram("wait_seconds", "Time in the queue.").sample(&[("app", "x")], spread.clone()).sample(&[], spread);
        insta::assert_snapshot!(metrics.to_string(), @r#"
        # HELP wait_seconds Time in the queue.
        # TYPE wait_seconds histogram
        wait_seconds_bucket{app="x",le="0.5"} 1
        wait_seconds_bucket{app="x",le="1"} 3
        wait_seconds_bucket{app="x",le="+Inf"} 4
        wait_seconds_sum{app="x"} 4.25
        wait_seconds_count{app="x"} 4
        wait_seconds_bucket{le="0.5"} 1
        wait_seconds_bucket{le="1"} 3
        wait_seconds_bucket{le="+Inf"} 4
        wait_seconds_sum 4.25
        wait_seconds_count 4
        "#);
    }

    #[test]
    fn texts_cannot_leave_their_line_or_their_quotes() {
        let mut metrics = Metrics::default();
        metrics.gauge("a", "A \"word\" and a \\ and\na line.").sample(&[("x", "\"} 1\n\\")], f64::INFINITY);
        insta::assert_snapshot!(metrics.to_string(), @r#"
        # HELP a A "word" and a \\ and\na line.
        # TYPE a gauge
        a{x="\"} 1\n\\"} +Inf
        "#);
    }

    #[test]
    fn a_value_of_the_wrong_sort_is_left_out() {
        let mut metrics = Metrics::default();
        metrics.histogram("a", "A.").sample(&[], 1.0);
        assert_eq!(metrics.to_string(), "# HELP a A.\n# TYPE a histogram\n");
    }
}
