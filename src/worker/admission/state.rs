//! Queues and backends together: what an admission does under its lock. Nothing here calls a backend or drops a call.

use std::sync::Arc;
use std::thread::ThreadId;

use ziggurat_middleware::Reserve;
use ziggurat_middleware::metrics::Distribution;

use super::backends::{BackendState, Backends, Recall};
use super::queues::WaitQueues;
use super::stats::{Stats, Totals};
use super::{Backend, BackendId, Capacity};
use crate::call::head::Head;
use crate::call::{Call, CallSignal};

/// The state of an admission.
pub(super) struct AdmissionState {
    pub(super) queues: WaitQueues,
    pub(super) backends: Backends,
    limit: usize,
    /// How many WebSockets may be open.
    websockets: usize,
    /// The number of the last call.
    numbers: u64,
    is_ended: bool,
    /// Whether the task that answers calls which have waited too long runs.
    pub(super) is_expiring: bool,
    /// Whether the task that watches backends runs.
    pub(super) is_watched: bool,
    /// Threads in [`Admission::dispatch`](super::Admission).
    pub(super) dispatchers: Vec<ThreadId>,
    pub(super) total: Totals,
}

/// Which backend has which call, and from which queue.
#[derive(Clone, Copy)]
pub(super) struct Assignment {
    backend: BackendId,
    number: u64,
    /// `None` for a WebSocket.
    queue: Option<usize>,
}

#[cfg(test)]
impl Assignment {
    pub(super) const NONE: Self = Self { backend: BackendId(0), number: 0, queue: None };
}

/// What to do with the next call.
pub(super) enum Dispatch {
    /// Start it at this backend.
    Start(Call, Arc<dyn Backend>, Assignment),
    /// Drop it: its client has left.
    Cancelled(Call),
}

impl AdmissionState {
    pub(super) fn new(limit: usize, websockets: usize, reserves: &[Reserve]) -> Self {
        Self {
            queues: WaitQueues::new(reserves),
            backends: Backends::default(),
            limit,
            websockets,
            numbers: 0,
            is_ended: false,
            is_expiring: false,
            is_watched: false,
            dispatchers: Vec::new(),
            total: Totals::default(),
        }
    }

    /// The number of the next call.
    pub(super) const fn count(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn open(&mut self, backend: Arc<dyn Backend>, capacity: Capacity) -> BackendId {
        let id = self.backends.open(backend, capacity, self.queues.len());
        self.rebalance();
        id
    }

    pub(super) fn retire(&mut self, backend: BackendId) -> Option<Recall> {
        let place = self.backends.get_mut(backend)?;
        place.is_open = false;
        let recall = place.recall();
        self.rebalance();
        Some(recall)
    }

    pub(super) fn close(&mut self, backend: BackendId) -> Option<BackendState> {
        let gone = self.backends.close(backend);
        self.rebalance();
        gone
    }

    /// Whether a backend has no calls left, or is gone.
    pub(super) fn is_empty(&mut self, backend: BackendId) -> bool {
        self.backends.get_mut(backend).is_none_or(|place| place.is_empty())
    }

    fn rebalance(&mut self) {
        let backends = &self.backends;
        self.queues.rebalance(backends.threads(), |queue| backends.calls_of(queue));
    }

    pub(super) const fn has_waiting(&self) -> bool {
        self.queues.waiting() > 0
    }

    /// Assigns a new call to a backend, if it need not wait.
    pub(super) fn assign_at_once(&mut self, call: &Call) -> Option<(Arc<dyn Backend>, Assignment)> {
        let queue = self.queues.of(call.class);
        if self.is_ended || !self.queues.is_empty(queue) || !self.queues.may_go(queue) {
            return None;
        }
        self.assign(call, queue)
    }

    fn assign(&mut self, call: &Call, queue: usize) -> Option<(Arc<dyn Backend>, Assignment)> {
        // With reserves, a prefetched call would wait for a thread of another queue. A streamed call could not be recalled.
        let prefetch_limit = if self.queues.len() == 1 && call.is_whole() { self.limit } else { 0 };
        let number = call.number;
        let (backend, id) = self.backends.assign(number, queue, prefetch_limit)?;
        self.queues.enter(queue);
        self.total.begun += 1;
        Some((backend, Assignment { backend: id, number, queue: Some(queue) }))
    }

    /// Assigns a WebSocket to a backend. It takes up none of the backend's threads, and never waits.
    pub(super) fn assign_websocket(&mut self, number: u64) -> Option<(Arc<dyn Backend>, Assignment)> {
        if self.is_ended || self.backends.websockets() >= self.websockets {
            self.total.refused_websockets += 1;
            return None;
        }
        let (backend, id) = self.backends.assign_websocket(number)?;
        self.total.begun += 1;
        Some((backend, Assignment { backend: id, number, queue: None }))
    }

    /// Requests that wait for a thread, here or at a backend.
    fn waiting(&self) -> usize {
        self.queues.waiting() + self.backends.prefetched()
    }

    /// Adds the call to its queue. Returns it if the queue is full.
    pub(super) fn enqueue(&mut self, call: Call) -> Option<Call> {
        if self.is_ended || self.waiting() >= self.limit {
            self.total.refused_full += 1;
            return Some(call);
        }
        self.queues.put(call);
        None
    }

    /// Adds a call that was assigned before. Returns it after [`AdmissionState::end`].
    pub(super) fn requeue(&mut self, call: Call) -> Option<Call> {
        if self.is_ended {
            return Some(call);
        }
        self.queues.put(call);
        None
    }

    /// The next call that may take a thread, with a backend for it.
    pub(super) fn next(&mut self) -> Option<Dispatch> {
        let queue = self.queues.first()?;
        let head = self.queues.pop(queue)?;
        if head.responder.is_closed() {
            return Some(Dispatch::Cancelled(head));
        }
        match self.assign(&head, queue) {
            Some((backend, assignment)) => Some(Dispatch::Start(head, backend, assignment)),
            None => {
                self.queues.put(head);
                None
            }
        }
    }

    /// Releases a permit. Returns whether a retired backend has no calls left.
    pub(super) fn release(&mut self, assignment: Assignment) -> bool {
        let Some(place) = self.backends.get_mut(assignment.backend) else { return false };
        let Some(queue) = assignment.queue else {
            place.release_websocket(assignment.number);
            return !place.is_open && place.is_empty();
        };
        if !place.release(assignment.number, queue) {
            return false;
        }
        if place.is_open {
            self.queues.leave(queue);
        }
        !place.is_open && place.is_empty()
    }

    /// Notes that a call of the backend is over.
    pub(super) fn note_progress(&mut self, assignment: Assignment) {
        if assignment.queue.is_some()
            && let Some(place) = self.backends.get_mut(assignment.backend)
        {
            place.note_progress();
        }
    }

    /// Handles a signal about a waiting call; returns the call if that ends it.
    pub(super) fn on_signal(&mut self, number: u64, signal: CallSignal) -> Option<Call> {
        self.total.expired += u64::from(signal == CallSignal::Expire);
        matches!(signal, CallSignal::Cancel | CallSignal::Expire).then(|| self.queues.remove(number)).flatten()
    }

    pub(super) fn backend_of(&self, number: u64) -> Option<Arc<dyn Backend>> {
        self.backends.with_call(number).map(|place| Arc::clone(&place.backend))
    }

    /// The head of a waiting request.
    pub(super) fn waiting_head(&self, number: u64) -> Option<Head> {
        self.queues.find(number).map(|call| call.head.clone())
    }

    pub(super) fn end(&mut self) -> Vec<Call> {
        self.is_ended = true;
        self.queues.take_while(|_| true)
    }

    pub(super) fn stats(&self, waits: Distribution) -> Stats {
        let backends: Vec<_> = self.backends.stats().collect();
        Stats {
            waiting: self.waiting(),
            limit: self.limit,
            threads: self.backends.threads(),
            busy: backends.iter().map(|backend| backend.in_progress.min(backend.threads)).sum(),
            websockets: self.backends.websockets(),
            websocket_limit: self.websockets,
            total: self.total,
            waits,
            backends,
        }
    }
}
