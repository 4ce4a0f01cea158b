//! Admission: which request gets a thread of the app, and when.
//!
//! Requests wait here, in one bounded queue per app, and nowhere else: a desk is handed what it can start, and a few more so that it need not
//! wait for the next. Of the desks that have room, the least loaded gets the call; among equals the one used last, so that idle ones stay idle.
//!
//! [`lines`] is who waits and who may go, [`desks`] where to, [`state`] both together under one lock. Desks are spoken to outside that lock.

mod desks;
mod figures;
mod lines;
mod state;
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

use crate::call::{Call, Executor, Word, ending};
pub(crate) use figures::{DeskFigures, Figures};
use state::{Booked, State, Turn};

/// Where calls are served: a worker process, or the threads of this process.
pub(crate) trait Desk: Send + Sync + 'static {
    /// Serves a call. The desk has room for it, and keeps the permit until the app is done with the call, `close()` included.
    fn begin(&self, call: Call, permit: Permit);

    /// A word about a call that was begun; nothing where it is over. Says whether the desk knows the call.
    fn tell(&self, number: u64, word: Word) -> bool;
}

/// How many threads a desk has, and how many calls it is handed beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) threads: usize,
    pub(crate) ahead: usize,
}

/// The queue of one app and its desks.
pub(crate) struct Admission {
    /// The app's place in the file, for the log.
    place: Box<str>,
    /// How long a request may wait.
    wait: Duration,
    state: Mutex<State>,
    /// Rung when a desk that is handed no more calls has none left.
    emptied: Notify,
    /// Where the timers run: calls come from there, but permits are dropped by threads of the app.
    runtime: OnceLock<Handle>,
    waits: Histogram,
}

/// A desk among those of an [`Admission`], for whoever opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeskId(pub(crate) u64);

impl Admission {
    /// A queue without desks for the app at `place`. Up to `limit` requests may wait, those ahead at desks included, none longer than
    /// `wait`; `reserves` are kept of the threads of all desks together.
    pub(crate) fn new(place: &str, limit: usize, wait: Duration, reserves: &[Reserve]) -> Arc<Self> {
        Arc::new(Self {
            place: place.into(),
            wait,
            state: Mutex::new(State::new(limit, reserves)),
            emptied: Notify::new(),
            runtime: OnceLock::new(),
            waits: Histogram::new(Histogram::WAITS),
        })
    }

    /// Opens a desk: it is handed calls from now on.
    pub(crate) fn open(self: &Arc<Self>, desk: Arc<dyn Desk>, room: Room) -> DeskId {
        let mut state = self.lock();
        let id = state.open(desk, room);
        self.pump(state);
        id
    }

    /// Hands the desk no more calls, and takes back those ahead. Ready when those it has are over.
    pub(crate) async fn retire(&self, desk: DeskId) {
        let recall = self.lock().retire(desk);
        if let Some(recall) = recall {
            // Those of which it has not heard yet are asked back again by the watch.
            recall.say();
        }
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty(desk) {
                return;
            }
            emptied.await;
        }
    }

    /// The desk is gone with all that it had; permits of it that are dropped later have no effect.
    pub(crate) fn close(&self, desk: DeskId) {
        let gone = self.lock().close(desk);
        self.emptied.notify_waiters();
        drop(gone);
    }

    /// Takes calls back that a desk had not begun: they come first, in their order.
    pub(crate) fn take_back(self: &Arc<Self>, calls: Vec<(Call, Permit)>) {
        let mut state = self.lock();
        let mut late = Vec::new();
        for (call, mut permit) in calls {
            // Released here, under the lock, and not when it is dropped.
            if permit.admission.take().is_some() {
                self.vacate(&mut state, permit.booked);
            }
            late.extend(state.put_back(call));
        }
        self.sweep_later(&mut state);
        self.pump(state);
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
    pub(crate) fn figures(&self) -> Figures {
        self.lock().figures(self.waits.get())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(self: &Arc<Self>, booked: Booked) -> Permit {
        Permit { admission: Some(Arc::clone(self)), booked }
    }

    fn vacate(&self, state: &mut State, booked: Booked) {
        if state.vacate(booked) {
            self.emptied.notify_waiters();
        }
    }

    /// Hands out what waits, as far as there is room.
    fn pump<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) {
        if !state.is_anybody_waiting() {
            return;
        }
        // A desk may drop a call while it is handed it, and with it the permit: the pump that is at work further up goes on with that.
        let me = thread::current().id();
        if state.pumps.contains(&me) {
            return;
        }
        state.pumps.push(me);
        while let Some(turn) = state.turn() {
            self.watch_later(&mut state);
            drop(state);
            match turn {
                Turn::Begin(call, desk, booked) => {
                    self.waits.observe(now().saturating_duration_since(call.since.into()));
                    desk.begin(call, self.permit(booked));
                }
                Turn::Left(call) => drop(call),
            }
            state = self.lock();
        }
        state.pumps.retain(|pump| *pump != me);
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
        if let Some((desk, booked)) = state.book_at_once(&call) {
            self.watch_later(&mut state);
            drop(state);
            self.waits.observe(Duration::ZERO);
            desk.begin(call, self.permit(booked));
            return Ok(number);
        }
        match state.line_up(call) {
            None => {
                self.sweep_later(&mut state);
                Ok(number)
            }
            Some(call) => Err(call),
        }
    }

    fn tell(&self, number: u64, word: Word) {
        let mut state = self.lock();
        let left = state.heard(number, word);
        let desk = state.desk_of(number);
        let is_waiting = left.is_none() && desk.is_none() && word == Word::Trace;
        let id = if is_waiting { state.request_id(number) } else { None };
        drop(state);
        drop(left);
        if let Some(desk) = desk {
            desk.tell(number, word);
        }
        if let Some(id) = id {
            tracing::warn!(request_id = &*id, app = &*self.place, "the request is slow: it still waits for one of the app's threads");
        }
    }
}

/// Room at a desk, taken up by a call. Dropped, it is free, and the next call that waits gets it.
pub(crate) struct Permit {
    admission: Option<Arc<Admission>>,
    booked: Booked,
}

impl Permit {
    /// The admission that gave it.
    pub(crate) fn admission(&self) -> Option<Arc<Admission>> {
        self.admission.clone()
    }

    /// A permit of no admission.
    #[cfg(test)]
    pub(crate) const fn unbound() -> Self {
        Self { admission: None, booked: Booked::NONE }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let mut state = admission.lock();
            state.stir(self.booked);
            admission.vacate(&mut state, self.booked);
            admission.pump(state);
        }
    }
}

/// The clock of the timers, which tests can stop.
fn now() -> Instant {
    Instant::now()
}
