//! When workers are replaced although they are healthy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::call::{Call, CallSignal};
use crate::worker::admission::{Backend, Permit};

/// The limits of a worker's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recycling {
    /// The number of requests, and the largest random addition to it.
    pub(crate) requests: Option<(u64, u64)>,
    pub(crate) age: Option<Duration>,
    /// Resident memory in octets.
    pub(crate) memory: Option<u64>,
}

impl Recycling {
    /// The number of requests after which one worker is replaced.
    fn request_limit(&self) -> Option<u64> {
        self.requests.map(|(requests, jitter)| requests.saturating_add(fastrand::u64(0..=jitter)))
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
    /// A call did not end at its deadline.
    Deadline,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] = [Self::Crash, Self::Requests, Self::Age, Self::Memory, Self::Deadline];

    /// The name in status and metrics.
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

/// A backend that counts its calls.
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

    /// How many calls it was assigned.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until it has been assigned as many calls as it may.
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
    fn request_limits_lie_within_the_jitter() {
        let recycling = Recycling { requests: Some((100, 10)), ..Recycling::default() };
        let lots: Vec<u64> = (0..1000).filter_map(|_| recycling.request_limit()).collect();
        assert_eq!((lots.iter().min(), lots.iter().max()), (Some(&100), Some(&110)));
        assert_eq!(Recycling { requests: Some((7, 0)), ..Recycling::default() }.request_limit(), Some(7));
        assert_eq!(Recycling { requests: Some((u64::MAX, u64::MAX)), ..Recycling::default() }.request_limit(), Some(u64::MAX));
        assert_eq!(Recycling::default().request_limit(), None);
    }
}
