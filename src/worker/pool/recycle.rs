//! When a worker is replaced though it is alive.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::random;
use crate::call::{Call, CallSignal};
use crate::worker::admission::{Backend, Permit};

/// The limits of a worker's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recycling {
    /// How many requests, and up to how many more by chance.
    pub(crate) requests: Option<(u64, u64)>,
    pub(crate) age: Option<Duration>,
    /// Resident memory in octets.
    pub(crate) memory: Option<u64>,
}

impl Recycling {
    /// After how many requests one worker is to go.
    fn request_limit(&self) -> Option<u64> {
        self.requests.map(|(requests, jitter)| requests.saturating_add((random() * (jitter as f64 + 1.0)) as u64))
    }
}

/// Why a worker was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It died.
    Crash,
    Requests,
    Age,
    Memory,
    /// A call would not end at its deadline.
    Deadline,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] = [Self::Crash, Self::Requests, Self::Age, Self::Memory, Self::Deadline];

    /// As status and metrics call it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Requests => "recycle: requests",
            Self::Age => "recycle: age",
            Self::Memory => "recycle: memory",
            Self::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A backend whose calls are counted.
pub(super) struct CountedBackend {
    backend: Arc<dyn Backend>,
    begun: AtomicU64,
    limit: Option<u64>,
    reached: Notify,
}

impl CountedBackend {
    pub(super) fn new(backend: Arc<dyn Backend>, recycling: &Recycling) -> Self {
        Self { backend, begun: AtomicU64::new(0), limit: recycling.request_limit(), reached: Notify::new() }
    }

    /// How many calls it was handed.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ready when it was handed as many as it may be.
    pub(super) async fn reached(&self) {
        while self.limit.is_none_or(|limit| self.begun() < limit) {
            self.reached.notified().await;
        }
    }
}

impl Backend for CountedBackend {
    fn begin(&self, call: Call, permit: Permit) {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.backend.begin(call, permit);
        if self.limit == Some(begun) {
            self.reached.notify_one();
        }
    }

    fn signal(&self, number: u64, signal: CallSignal) -> bool {
        self.backend.signal(number, signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_lie_between_the_requests_and_those_with_all_of_the_jitter() {
        let recycling = Recycling { requests: Some((100, 10)), ..Recycling::default() };
        let lots: Vec<u64> = (0..1000).filter_map(|_| recycling.request_limit()).collect();
        assert_eq!((lots.iter().min(), lots.iter().max()), (Some(&100), Some(&110)));
        assert_eq!(Recycling { requests: Some((7, 0)), ..Recycling::default() }.request_limit(), Some(7));
        assert_eq!(Recycling { requests: Some((u64::MAX, u64::MAX)), ..Recycling::default() }.request_limit(), Some(u64::MAX));
        assert_eq!(Recycling::default().request_limit(), None);
    }
}
