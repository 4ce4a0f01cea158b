//! The workers that are alive, for status, metrics and stack dumps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::recycle::{CountedBackend, Reason};
use crate::worker::admission::BackendId;
use crate::worker::link::server_end::ServerEnd;

/// The live workers of a pool.
#[derive(Default)]
pub(super) struct LiveWorkers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// By number of the worker, and in the order of their start.
    entries: BTreeMap<(usize, u64), LiveWorker>,
    came: u64,
    restarts: Restarts,
}

/// How often workers were replaced.
#[derive(Clone, Default)]
pub(super) struct Restarts {
    pub(super) counts: BTreeMap<Reason, u64>,
    pub(super) last: Option<(SystemTime, Reason)>,
}

/// A live worker.
#[derive(Clone)]
pub(super) struct LiveWorker {
    pub(super) nth: usize,
    pub(super) pid: u32,
    pub(super) state: WorkerState,
    pub(super) since: Instant,
    pub(super) backend: Option<BackendId>,
    pub(super) counted: Arc<CountedBackend>,
    pub(super) link: Arc<ServerEnd>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// It takes calls.
    Ready,
    /// It takes no more calls and finishes those it has.
    Retiring,
    /// It is shutting down.
    Stopping,
}

impl WorkerState {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
        }
    }
}

/// Keeps a worker in the table until it is dropped.
pub(super) struct Registration {
    live: Arc<LiveWorkers>,
    key: (usize, u64),
}

impl LiveWorkers {
    /// Adds a worker.
    pub(super) fn register(self: &Arc<Self>, nth: usize, pid: u32, link: Arc<ServerEnd>, counted: Arc<CountedBackend>) -> Registration {
        let mut inner = self.lock();
        inner.came += 1;
        let key = (nth, inner.came);
        inner.entries.insert(key, LiveWorker { nth, pid, state: WorkerState::Ready, since: Instant::now(), backend: None, counted, link });
        Registration { live: Arc::clone(self), key }
    }

    /// All live workers.
    pub(super) fn entries(&self) -> Vec<LiveWorker> {
        self.lock().entries.values().cloned().collect()
    }

    /// Counts a replaced worker.
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

impl Registration {
    pub(super) fn open(&self, backend: BackendId) {
        self.with(|entry| entry.backend = Some(backend));
    }

    pub(super) fn set(&self, state: WorkerState) {
        self.with(|entry| entry.state = state);
    }

    fn with(&self, then: impl FnOnce(&mut LiveWorker)) {
        if let Some(entry) = self.live.lock().entries.get_mut(&self.key) {
            then(entry);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.lock().entries.remove(&self.key);
    }
}
