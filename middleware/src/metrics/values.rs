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
    /// The number of values in each bucket; the last bucket has no upper bound.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Bounds for waiting times, from 5 milliseconds to 10 seconds.
    pub const WAITS: &'static [f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    /// A histogram with these upper bounds in seconds, in ascending order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), nanoseconds: AtomicU64::new(0) }
    }

    /// Adds a duration.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        // Overflows after five hundred years of waiting.
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The current distribution.
    #[must_use]
    pub fn get(&self) -> Distribution {
        let mut count = 0;
        let mut cumulative = self.counts.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
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
