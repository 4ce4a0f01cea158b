//! Who is there, for those who ask: status, metrics, stack dumps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::recycle::{Reason, Tally};
use crate::worker::admission::DeskId;
use crate::worker::link::front::Link;

/// The workers of a crew as they come and go.
#[derive(Default)]
pub(super) struct Roster(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// By number and then by the order they came in.
    entries: BTreeMap<(usize, u64), Entry>,
    came: u64,
    restarts: Restarts,
}

/// How often workers were replaced.
#[derive(Clone, Default)]
pub(super) struct Restarts {
    pub(super) counts: BTreeMap<Reason, u64>,
    pub(super) last: Option<(SystemTime, Reason)>,
}

/// What is known of a worker.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) nth: usize,
    pub(super) pid: u32,
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) desk: Option<DeskId>,
    pub(super) tally: Arc<Tally>,
    pub(super) link: Arc<Link>,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes calls.
    Ready,
    /// It takes no more calls and finishes those it has.
    Retiring,
    /// It is about to end.
    Stopping,
}

impl State {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
        }
    }
}

/// A worker's line in the roster, as long as this is held.
pub(super) struct Listing {
    roster: Arc<Roster>,
    key: (usize, u64),
}

impl Roster {
    /// Adds a worker.
    pub(super) fn enter(self: &Arc<Self>, nth: usize, pid: u32, link: Arc<Link>, tally: Arc<Tally>) -> Listing {
        let mut inner = self.lock();
        inner.came += 1;
        let key = (nth, inner.came);
        inner.entries.insert(key, Entry { nth, pid, state: State::Ready, since: Instant::now(), desk: None, tally, link });
        Listing { roster: Arc::clone(self), key }
    }

    /// Those that are there now.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.values().cloned().collect()
    }

    /// Takes note of a worker that has to be replaced.
    pub(super) fn count(&self, reason: Reason) {
        let mut inner = self.lock();
        *inner.restarts.counts.entry(reason).or_default() += 1;
        inner.restarts.last = Some((SystemTime::now(), reason));
    }

    /// How often workers were replaced so far.
    pub(super) fn restarts(&self) -> Restarts {
        self.lock().restarts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listing {
    pub(super) fn open(&self, desk: DeskId) {
        self.with(|entry| entry.desk = Some(desk));
    }

    pub(super) fn set(&self, state: State) {
        self.with(|entry| entry.state = state);
    }

    fn with(&self, then: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.roster.lock().entries.get_mut(&self.key) {
            then(entry);
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.roster.lock().entries.remove(&self.key);
    }
}
