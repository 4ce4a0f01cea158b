//! Admission: which request gets a thread of the app, and when.
//!
//! Requests wait here, in one bounded queue per app, and nowhere else: a backend is assigned what it can start, and a few more so that it need not
//! wait for the next. Of the backends that have capacity, the least loaded gets the call; among equals the one last_used last, so that idle ones stay idle.
//!
//! [`queues`] is who waits and who may go, [`backends`] where to, [`state`] both together under one lock. Backends are spoken to outside that lock.

mod backends;
mod queues;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use ziggurat_middleware::Reserve;
use ziggurat_middleware::metrics::Histogram;

use crate::call::{Call, CallSignal, Executor, ending};
use state::{AdmissionState, Assignment, Dispatch};
pub(crate) use stats::{BackendStats, Stats};

/// Where calls are served: a worker process, or the threads of this process.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Serves a call. The backend has capacity for it, and keeps the permit until the app is done with the call, `close()` included.
    fn begin(&self, call: Call, permit: Permit);

    /// A signal about a call that was begun; nothing where it is over. Says whether the backend knows the call.
    fn signal(&self, number: u64, signal: CallSignal) -> bool;
}

/// How many threads a backend has, and how many calls it is assigned beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) threads: usize,
    pub(crate) prefetch: usize,
}

/// The queue of one app and its backends.
pub(crate) struct Admission {
    /// The app's place in the file, for the log.
    place: Box<str>,
    /// How long a request may wait.
    wait: Duration,
    state: Mutex<AdmissionState>,
    /// Rung when a backend that is assigned no more calls has none left.
    drained: Notify,
    /// Where the timers run: calls come from there, but permits are dropped by threads of the app.
    runtime: OnceLock<Handle>,
    waits: Histogram,
}

/// A backend among those of an [`Admission`], for whoever opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BackendId(pub(crate) u64);

impl Admission {
    /// A queue without backends for the app at `place`. Up to `limit` requests may wait, those prefetch at backends included, none longer than
    /// `wait`; `reserves` are kept of the threads of all backends together.
    pub(crate) fn new(place: &str, limit: usize, wait: Duration, reserves: &[Reserve]) -> Arc<Self> {
        Arc::new(Self {
            place: place.into(),
            wait,
            state: Mutex::new(AdmissionState::new(limit, reserves)),
            drained: Notify::new(),
            runtime: OnceLock::new(),
            waits: Histogram::new(Histogram::WAITS),
        })
    }

    /// Opens a backend: it is assigned calls from now on.
    pub(crate) fn open(self: &Arc<Self>, backend: Arc<dyn Backend>, capacity: Capacity) -> BackendId {
        let mut state = self.lock();
        let id = state.open(backend, capacity);
        self.dispatch(state);
        id
    }

    /// Hands the backend no more calls, and takes back those ahead. Ready when those it has are over.
    pub(crate) async fn retire(&self, backend: BackendId) {
        let recall = self.lock().retire(backend);
        if let Some(recall) = recall {
            // Those of which it has not on_signal yet are recalled back again by the watch.
            recall.send();
        }
        loop {
            let drained = self.drained.notified();
            if self.lock().is_empty(backend) {
                return;
            }
            drained.await;
        }
    }

    /// The backend is gone with all that it had; permits of it that are dropped later have no effect.
    pub(crate) fn close(&self, backend: BackendId) {
        let gone = self.lock().close(backend);
        self.drained.notify_waiters();
        drop(gone);
    }

    /// Takes calls back that a backend had not begun: they come first, in their order.
    pub(crate) fn take_back(self: &Arc<Self>, calls: Vec<(Call, Permit)>) {
        let mut state = self.lock();
        let mut late = Vec::new();
        for (call, mut permit) in calls {
            // Released here, under the lock, and not when it is dropped.
            if permit.admission.take().is_some() {
                self.release(&mut state, permit.assignment);
            }
            late.extend(state.requeue(call));
        }
        self.schedule_expiry(&mut state);
        self.dispatch(state);
        for call in late {
            call.responder.fail(ending());
        }
    }

    /// Takes no more calls, and answers those that wait.
    pub(crate) fn end(&self) {
        let calls = self.lock().end();
        for call in calls {
            call.responder.fail(ending());
        }
    }

    /// How it fares.
    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats(self.waits.get())
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(self: &Arc<Self>, assignment: Assignment) -> Permit {
        Permit { admission: Some(Arc::clone(self)), assignment }
    }

    fn release(&self, state: &mut AdmissionState, assignment: Assignment) {
        if state.release(assignment) {
            self.drained.notify_waiters();
        }
    }

    /// Hands out what waits, as far as there is capacity.
    fn dispatch<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, AdmissionState>) {
        if !state.has_waiting() {
            return;
        }
        // A backend may drop a call while it is assigned it, and with it the permit: the dispatch that is at work further up goes on with that.
        let me = thread::current().id();
        if state.dispatchers.contains(&me) {
            return;
        }
        state.dispatchers.push(me);
        while let Some(turn) = state.next() {
            self.schedule_watch(&mut state);
            drop(state);
            match turn {
                Dispatch::Start(call, backend, assignment) => {
                    self.waits.observe(now().saturating_duration_since(call.since.into()));
                    backend.begin(call, self.permit(assignment));
                }
                Dispatch::Cancelled(call) => drop(call),
            }
            state = self.lock();
        }
        state.dispatchers.retain(|dispatch| *dispatch != me);
    }
}

impl Executor for Admission {
    fn submit(self: &Arc<Self>, mut call: Call) -> Result<u64, Call> {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            // Another call may have been first.
            let _ = self.runtime.set(runtime);
        }
        let mut state = self.lock();
        let number = state.count();
        call.number = number;
        if let Some((backend, assignment)) = state.assign_at_once(&call) {
            self.schedule_watch(&mut state);
            drop(state);
            self.waits.observe(Duration::ZERO);
            backend.begin(call, self.permit(assignment));
            return Ok(number);
        }
        match state.enqueue(call) {
            None => {
                self.schedule_expiry(&mut state);
                Ok(number)
            }
            Some(call) => Err(call),
        }
    }

    fn signal(&self, number: u64, signal: CallSignal) {
        let mut state = self.lock();
        let left = state.on_signal(number, signal);
        let backend = state.backend_of(number);
        let is_waiting = left.is_none() && backend.is_none() && signal == CallSignal::Trace;
        let id = if is_waiting { state.request_id(number) } else { None };
        drop(state);
        drop(left);
        if let Some(backend) = backend {
            backend.signal(number, signal);
        }
        if let Some(id) = id {
            tracing::warn!(request_id = &*id, app = &*self.place, "the request is slow: it still waits for one of the app's threads");
        }
    }
}

/// Capacity at a backend, taken up by a call. Dropped, it is free, and the next call that waits gets it.
pub(crate) struct Permit {
    admission: Option<Arc<Admission>>,
    assignment: Assignment,
}

impl Permit {
    /// The admission that gave it.
    pub(crate) fn admission(&self) -> Option<Arc<Admission>> {
        self.admission.clone()
    }

    /// A permit of no admission.
    #[cfg(test)]
    pub(crate) const fn unbound() -> Self {
        Self { admission: None, assignment: Assignment::NONE }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let mut state = admission.lock();
            state.note_progress(self.assignment);
            admission.release(&mut state, self.assignment);
            admission.dispatch(state);
        }
    }
}

/// The clock of the timers, which tests can stop.
fn now() -> Instant {
    Instant::now()
}
