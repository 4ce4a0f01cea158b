//! Admission: which request gets a thread of the app, and when.
//!
//! Requests wait here, in one bounded queue per app. A backend is assigned as many calls as it has threads, and prefetches a few so that a free
//! thread need not wait for the next one. The least loaded backend gets a call; of equally loaded ones the one used last, so that idle ones stay
//! idle. A WebSocket never waits: it takes up none of these threads, and their number is limited by itself.
//!
//! [`queues`] holds the waiting calls, [`backends`] the assigned ones, and [`state`] combines both under one lock. Backends are called outside that
//! lock.

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

use crate::call::{Call, CallSignal, Executor, RequestBody, ending};
use state::{AdmissionState, Assignment, Dispatch};
pub(crate) use stats::{BackendStats, Stats};

/// Runs calls: a worker process, or the threads of this process.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Runs a call. The backend has capacity for it, and keeps the permit until the app is done with the call, `close()` included.
    fn begin(&self, call: Call, permit: Permit);

    /// Sends a signal about a call. Does nothing if the call is over. Returns whether the backend knows the call.
    fn signal(&self, number: u64, signal: CallSignal) -> bool;
}

/// How many threads a backend has, and how many calls it is assigned beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) threads: usize,
    pub(crate) prefetch: usize,
}

/// The queue of one app and its backends.
pub(crate) struct Admission {
    /// The app's place in the file, for the log.
    place: Box<str>,
    terms: Terms,
    state: Mutex<AdmissionState>,
    /// Notified when a retired backend has no calls left.
    drained: Notify,
    /// The runtime of the timers. Calls come from there, but permits are dropped by threads of the app.
    runtime: OnceLock<Handle>,
    waits: Histogram,
}

/// What a queue was made for.
#[derive(Debug, PartialEq, Eq)]
struct Terms {
    limit: usize,
    /// How long a request may wait.
    wait: Duration,
    websockets: usize,
    reserves: Box<[Reserve]>,
}

/// Identifies a backend of an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BackendId(pub(crate) u64);

impl Admission {
    /// A queue without backends for the app at `place`. Up to `limit` requests may wait, prefetched ones included, and none longer than `wait`. Up to
    /// `websockets` WebSockets may be open.
    /// `reserves` applies to the threads of all backends together.
    pub(crate) fn new(place: &str, limit: usize, wait: Duration, websockets: usize, reserves: &[Reserve]) -> Arc<Self> {
        Arc::new(Self {
            place: place.into(),
            terms: Terms { limit, wait, websockets, reserves: reserves.into() },
            state: Mutex::new(AdmissionState::new(limit, websockets, reserves)),
            drained: Notify::new(),
            runtime: OnceLock::new(),
            waits: Histogram::new(Histogram::WAITS),
        })
    }

    /// Whether another queue has the same limits and reserves.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.terms == other.terms
    }

    /// Adds a backend, which is assigned calls from now on.
    pub(crate) fn open(self: &Arc<Self>, backend: Arc<dyn Backend>, capacity: Capacity) -> BackendId {
        let mut state = self.lock();
        let id = state.open(backend, capacity);
        self.dispatch(state);
        id
    }

    /// Assigns the backend no more calls and recalls the prefetched ones. Returns when its calls are over.
    pub(crate) async fn retire(&self, backend: BackendId) {
        let recall = self.lock().retire(backend);
        if let Some(recall) = recall {
            // The watch repeats recalls of calls that the backend does not know yet.
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

    /// Removes a backend that is gone. Dropping its permits later has no effect.
    pub(crate) fn close(&self, backend: BackendId) {
        let gone = self.lock().close(backend);
        self.drained.notify_waiters();
        drop(gone);
    }

    /// Takes back calls that a backend had not begun. They are first in the queue, in their order.
    pub(crate) fn take_back(self: &Arc<Self>, calls: Vec<(Call, Permit)>) {
        let mut state = self.lock();
        let mut late = Vec::new();
        for (call, mut permit) in calls {
            // Released here, under the lock, instead of when it is dropped.
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

    /// Accepts no more calls, and answers the waiting ones.
    pub(crate) fn end(&self) {
        let calls = self.lock().end();
        for call in calls {
            call.responder.fail(ending());
        }
    }

    /// The app's place, for the log.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The current figures, for status and metrics.
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

    /// Assigns waiting calls to backends, as far as there is capacity.
    fn dispatch<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, AdmissionState>) {
        if !state.has_waiting() {
            return;
        }
        // A backend that drops a call at once drops its permit, which calls this again: the outer loop goes on instead.
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
            // Another call may have set it.
            let _ = self.runtime.set(runtime);
        }
        let mut state = self.lock();
        let number = state.count();
        call.number = number;
        if matches!(call.body, RequestBody::WebSocket(_)) {
            let Some((backend, assignment)) = state.assign_websocket(number) else { return Err(call) };
            drop(state);
            backend.begin(call, self.permit(assignment));
            return Ok(number);
        }
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
        let head = if is_waiting { state.waiting_head(number) } else { None };
        drop(state);
        drop(left);
        if let Some(backend) = backend {
            backend.signal(number, signal);
        }
        if let Some(head) = head {
            let (request_id, request) = (head.view().request_id(), tracing::field::display(head.view().summary()));
            tracing::warn!(request_id, request, app = &*self.place, "the request is slow: it still waits for one of the app's threads");
        }
    }
}

/// Capacity of a backend that a call takes up. Dropping it lets the next waiting call have it.
pub(crate) struct Permit {
    admission: Option<Arc<Admission>>,
    assignment: Assignment,
}

impl Permit {
    /// The admission that issued it.
    pub(crate) fn admission(&self) -> Option<Arc<Admission>> {
        self.admission.clone()
    }

    /// A permit without an admission.
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

/// The clock of the timers, which tests can pause.
fn now() -> Instant {
    Instant::now()
}
