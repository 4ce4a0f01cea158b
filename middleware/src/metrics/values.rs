//! Counters and histograms that many threads update.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Distribution, SampleValue};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl From<&Counter> for SampleValue {
    fn from(counter: &Counter) -> Self {
        counter.get().into()
    }
}

/// A distribution of durations, in seconds.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64],
    /// One for each bound, and one for what is above.
    buckets: Box<[Bucket]>,
    nanoseconds: AtomicU64,
}

#[derive(Debug)]
struct Bucket {
    /// The upper bound in nanoseconds.
    bound: u64,
    count: AtomicU64,
}

impl Histogram {
    /// Bounds for waiting times, from 5 milliseconds to 10 seconds.
    pub const WAITS: &'static [f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    /// A histogram with these upper bounds in seconds, in ascending order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let bucket = |bound| Bucket { bound, count: AtomicU64::new(0) };
        let buckets = bounds.iter().map(|bound| (bound * 1e9).round() as u64).chain([u64::MAX]).map(bucket);
        Self { bounds, buckets: buckets.collect(), nanoseconds: AtomicU64::new(0) }
    }

    /// Adds a duration.
    pub fn observe(&self, time: Duration) {
        // Overflows after five hundred years of waiting.
        self.observe_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn observe_nanos(&self, nanos: u64) {
        // The last bucket takes everything.
        if let Some(bucket) = self.buckets.iter().find(|bucket| nanos <= bucket.bound) {
            bucket.count.fetch_add(1, Ordering::Relaxed);
            self.nanoseconds.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// The current distribution.
    #[must_use]
    pub fn get(&self) -> Distribution {
        let mut count = 0;
        let mut cumulative = self.buckets.iter().map(|bucket| {
            count += bucket.count.load(Ordering::Relaxed);
            count
        });
        let buckets = self.bounds.iter().copied().zip(cumulative.by_ref()).collect();
        let above = cumulative.last();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Distribution { buckets, sum, count: above.unwrap_or_default() }
    }
}

impl From<&Histogram> for SampleValue {
    fn from(histogram: &Histogram) -> Self {
        histogram.get().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(&[0.25, 0.5]);
        for millis in [0, 250, 251, 500, 999] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!(histogram.get(), Distribution { buckets: vec![(0.25, 2), (0.5, 4)], sum: 2.0, count: 5 });
    }

    #[test]
    fn a_histogram_without_values_has_all_its_buckets() {
        assert_eq!(Histogram::new(&[1.0]).get(), Distribution { buckets: vec![(1.0, 0)], sum: 0.0, count: 0 });
    }
}
