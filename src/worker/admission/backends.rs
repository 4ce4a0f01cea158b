//! The backends of an app: which calls each has, and which backend gets the next call.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Backend, BackendId, BackendStats, Capacity};
use crate::call::CallSignal;

/// The backends of an app.
#[derive(Default)]
pub(super) struct Backends {
    entries: Vec<BackendState>,
    opened: u64,
    /// How many calls were assigned so far; tells which backend was used last.
    assigned: u64,
}

/// A backend and its calls.
pub(super) struct BackendState {
    pub(super) id: BackendId,
    pub(super) backend: Arc<dyn Backend>,
    capacity: Capacity,
    /// Its calls, in the order in which they were assigned.
    calls: VecDeque<AssignedCall>,
    /// How many of them came from which queue.
    by_queue: Box<[usize]>,
    /// The numbers of its WebSockets, each of which has a thread of its own.
    websockets: Vec<u64>,
    /// Whether it is assigned calls.
    pub(super) is_open: bool,
    /// Whether it makes no progress with prefetched calls; it is not assigned more of them.
    is_stalled: bool,
    /// For how many ticks it is not assigned any calls, because it returned a call that a free thread should have begun.
    pause: u32,
    /// How many such pauses in a row.
    pauses: u32,
    /// Ticks so far, and the tick of the last finished call.
    ticks: u32,
    last_progress: u32,
    last_used: u64,
    begun: u64,
}

/// A call of a backend.
struct AssignedCall {
    number: u64,
    /// The tick after which it was assigned.
    since: u32,
    recalled: Recalled,
}

/// Whether the backend was asked to return a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recalled {
    No,
    /// While it waited for a thread.
    Prefetched,
    /// When a free thread should have begun it.
    Assigned,
}

/// A prefetched call is recalled when its backend has finished nothing for so many ticks: for 10 ms at least.
const PREFETCH_TICKS: u32 = 2;

/// Likewise for a call that a free thread should have begun: for 50 ms. The backend's interpreter may be held by C code.
const ASSIGNED_TICKS: u32 = 10;

/// The first and the longest pause of a backend that has returned such a call: 50 ms and 1.6 s.
const PAUSE_TICKS: u32 = 10;
const MAX_PAUSE_TICKS: u32 = 320;

/// Calls to recall from a backend.
pub(super) struct Recall {
    backend: Arc<dyn Backend>,
    numbers: Vec<u64>,
}

impl Recall {
    /// Sends the recalls. Returns the calls that the backend does not know yet.
    pub(super) fn send(mut self) -> Vec<u64> {
        self.numbers.retain(|number| !self.backend.signal(*number, CallSignal::Recall));
        self.numbers
    }
}

impl Backends {
    pub(super) fn open(&mut self, backend: Arc<dyn Backend>, capacity: Capacity, queues: usize) -> BackendId {
        self.opened += 1;
        let id = BackendId(self.opened);
        self.entries.push(BackendState {
            id,
            backend,
            capacity,
            calls: VecDeque::with_capacity(capacity.threads + capacity.prefetch),
            by_queue: vec![0; queues].into(),
            websockets: Vec::new(),
            is_open: true,
            is_stalled: false,
            pause: 0,
            pauses: 0,
            ticks: 0,
            last_progress: 0,
            last_used: 0,
            begun: 0,
        });
        id
    }

    pub(super) fn close(&mut self, id: BackendId) -> Option<BackendState> {
        let at = self.entries.iter().position(|place| place.id == id)?;
        Some(self.entries.swap_remove(at))
    }

    pub(super) fn get_mut(&mut self, id: BackendId) -> Option<&mut BackendState> {
        self.entries.iter_mut().find(|place| place.id == id)
    }

    /// The backend that has this call.
    pub(super) fn with_call(&self, number: u64) -> Option<&BackendState> {
        self.entries.iter().find(|place| place.has(number))
    }

    /// The backend for the next call: one with a free thread, or else one that may prefetch calls, up to `prefetch_limit` for all backends together.
    /// Of several the least loaded; of equally loaded ones the one that was used last.
    fn choose(&mut self, prefetch_limit: usize) -> Option<&mut BackendState> {
        let free = self.best(BackendState::has_free_thread);
        let nth = free.or_else(|| self.best(BackendState::can_prefetch).filter(|_| self.prefetched() < prefetch_limit))?;
        Some(&mut self.entries[nth])
    }

    fn best(&self, is_eligible: impl Fn(&BackendState) -> bool) -> Option<usize> {
        let eligible = self.entries.iter().enumerate().filter(|(_, place)| place.is_open && is_eligible(place));
        eligible.min_by_key(|(_, place)| (place.calls.len(), u64::MAX - place.last_used)).map(|(nth, _)| nth)
    }

    /// Assigns the call to a backend.
    pub(super) fn assign(&mut self, number: u64, queue: usize, prefetch_limit: usize) -> Option<(Arc<dyn Backend>, BackendId)> {
        let assigned = self.assigned + 1;
        let place = self.choose(prefetch_limit)?;
        place.calls.push_back(AssignedCall { number, since: place.ticks, recalled: Recalled::No });
        place.by_queue[queue] += 1;
        place.last_used = assigned;
        place.begun += 1;
        let assignment = (Arc::clone(&place.backend), place.id);
        self.assigned = assigned;
        Some(assignment)
    }

    /// Assigns a WebSocket to the open backend that has the fewest.
    pub(super) fn assign_websocket(&mut self, number: u64) -> Option<(Arc<dyn Backend>, BackendId)> {
        let place = self.entries.iter_mut().filter(|place| place.is_open).min_by_key(|place| place.websockets.len())?;
        place.websockets.push(number);
        place.begun += 1;
        Some((Arc::clone(&place.backend), place.id))
    }

    /// The WebSockets of all backends.
    pub(super) fn websockets(&self) -> usize {
        self.entries.iter().map(|place| place.websockets.len()).sum()
    }

    /// The threads of open backends.
    pub(super) fn threads(&self) -> usize {
        self.open_ones().map(|place| place.capacity.threads).sum()
    }

    /// The calls of open backends that came from this queue.
    pub(super) fn calls_of(&self, queue: usize) -> usize {
        self.open_ones().map(|place| place.by_queue[queue]).sum()
    }

    fn open_ones(&self) -> impl Iterator<Item = &BackendState> {
        self.entries.iter().filter(|place| place.is_open)
    }

    /// The assigned calls that wait for a thread.
    pub(super) fn prefetched(&self) -> usize {
        self.entries.iter().map(|place| place.calls.len().saturating_sub(place.capacity.threads)).sum()
    }

    /// Whether a backend needs [`Backends::tick`].
    pub(super) fn needs_watch(&self) -> bool {
        self.entries.iter().any(BackendState::needs_watch)
    }

    /// Advances the clock. Returns the calls to recall from backends without progress, and whether a pause has ended.
    pub(super) fn tick(&mut self) -> (Vec<Recall>, bool) {
        let mut recalls = Vec::new();
        let mut is_any_open_again = false;
        for place in self.entries.iter_mut().filter(|place| place.needs_watch()) {
            place.ticks = place.ticks.wrapping_add(1);
            is_any_open_again |= place.pause == 1;
            place.pause = place.pause.saturating_sub(1);
            recalls.extend(place.overdue());
        }
        (recalls, is_any_open_again)
    }

    /// Lets calls be recalled again whose backend did not know them yet.
    pub(super) fn ask_again(&mut self, numbers: &[u64]) {
        for call in self.entries.iter_mut().flat_map(|place| &mut place.calls) {
            if numbers.contains(&call.number) {
                call.recalled = Recalled::No;
            }
        }
    }

    pub(super) fn stats(&self) -> impl Iterator<Item = BackendStats> {
        self.entries.iter().map(|place| BackendStats {
            id: place.id,
            is_open: place.is_open,
            threads: place.capacity.threads,
            in_progress: place.calls.len(),
            begun: place.begun,
        })
    }
}

impl BackendState {
    fn has_free_thread(&self) -> bool {
        self.pause == 0 && self.calls.len() < self.capacity.threads
    }

    fn can_prefetch(&self) -> bool {
        !self.is_stalled && self.pause == 0 && self.calls.len() < self.capacity.threads + self.capacity.prefetch
    }

    /// The oldest call is never recalled: the app may have begun with it, and if it does not end, its deadline applies.
    fn needs_watch(&self) -> bool {
        self.pause > 0 || self.calls.iter().skip(1).any(|call| call.recalled == Recalled::No)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.websockets.is_empty()
    }

    fn has(&self, number: u64) -> bool {
        self.calls.iter().any(|call| call.number == number) || self.websockets.contains(&number)
    }

    /// The app is done with a WebSocket.
    pub(super) fn release_websocket(&mut self, number: u64) {
        self.websockets.retain(|websocket| *websocket != number);
    }

    /// The call is over or was returned. Returns whether the backend had it.
    pub(super) fn release(&mut self, number: u64, queue: usize) -> bool {
        let Some(at) = self.calls.iter().position(|call| call.number == number) else { return false };
        let call = self.calls.remove(at);
        self.by_queue[queue] -= 1;
        if call.is_some_and(|call| call.recalled == Recalled::Assigned) && !self.calls.is_empty() {
            self.pause = (PAUSE_TICKS << self.pauses.min(16)).min(MAX_PAUSE_TICKS);
            self.pauses += 1;
        }
        true
    }

    /// Notes that a call was finished.
    pub(super) const fn note_progress(&mut self) {
        self.is_stalled = false;
        self.pause = 0;
        self.pauses = 0;
        self.last_progress = self.ticks;
    }

    /// The calls to recall now. A backend begins calls in order, so the prefetched ones are the last.
    fn overdue(&mut self) -> Option<Recall> {
        let (ticks, idle) = (self.ticks, self.ticks.wrapping_sub(self.last_progress));
        let mut numbers = Vec::new();
        for (nth, call) in self.calls.iter_mut().enumerate().skip(1).filter(|(_, call)| call.recalled == Recalled::No) {
            let (recalled, limit) =
                if nth < self.capacity.threads { (Recalled::Assigned, ASSIGNED_TICKS) } else { (Recalled::Prefetched, PREFETCH_TICKS) };
            if idle.min(ticks.wrapping_sub(call.since)) > limit {
                call.recalled = recalled;
                self.is_stalled |= recalled == Recalled::Prefetched;
                numbers.push(call.number);
            }
        }
        (!numbers.is_empty()).then(|| Recall { backend: Arc::clone(&self.backend), numbers })
    }

    /// All prefetched calls.
    pub(super) fn recall(&self) -> Recall {
        let numbers = self.calls.iter().skip(self.capacity.threads).map(|call| call.number).collect();
        Recall { backend: Arc::clone(&self.backend), numbers }
    }
}
