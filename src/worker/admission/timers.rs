//! The timers of an admission: one answers requests that have waited too long, the other recalls calls from backends without progress.
//!
//! Each is a task that runs only while there is something to do, and that does not keep the admission alive.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::backends::Recall;
use super::state::AdmissionState;
use super::{Admission, now};
use crate::call::overloaded;

/// The interval between two ticks of the backends.
const TICK: Duration = Duration::from_millis(5);

impl Admission {
    /// Starts the task that answers calls which have waited too long, if a call waits.
    pub(super) fn schedule_expiry(self: &Arc<Self>, state: &mut AdmissionState) {
        if !state.is_expiring
            && state.has_waiting()
            && let Some(runtime) = self.runtime.get()
        {
            state.is_expiring = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Starts the task that watches backends, if one needs it.
    pub(super) fn schedule_watch(self: &Arc<Self>, state: &mut AdmissionState) {
        if !state.is_watched
            && state.backends.needs_watch()
            && let Some(runtime) = self.runtime.get()
        {
            state.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Answers calls that have waited too long. Returns when the next one will have.
    fn sweep(&self) -> Option<Instant> {
        let now = now();
        let due = |since: std::time::Instant| Instant::from_std(since.checked_add(self.terms.wait).unwrap_or(since));
        let mut state = self.lock();
        let late = state.queues.take_while(|call| due(call.since) <= now);
        state.total.refused_waited += late.len() as u64;
        let next = state.queues.heads().map(|call| due(call.since)).min();
        state.is_expiring = next.is_some();
        drop(state);
        for call in late {
            let why = format!("no thread of the app was free for {:?}", self.terms.wait);
            call.responder.fail(overloaded("no thread of the app was free in time", why));
        }
        next
    }

    /// Recalls calls from backends without progress. Returns whether to go on.
    fn tick(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let (recalls, is_any_open_again) = state.backends.tick();
        if is_any_open_again {
            self.dispatch(state);
        } else {
            drop(state);
        }
        let unheard: Vec<u64> = recalls.into_iter().flat_map(Recall::send).collect();
        let mut state = self.lock();
        state.backends.ask_again(&unheard);
        state.is_watched = state.backends.needs_watch();
        state.is_watched
    }
}

async fn sweep(admission: Weak<Admission>) {
    while let Some(next) = admission.upgrade().and_then(|admission| admission.sweep()) {
        sleep_until(next).await;
    }
}

async fn watch(admission: Weak<Admission>) {
    loop {
        sleep(TICK).await;
        if !admission.upgrade().is_some_and(|admission| admission.tick()) {
            return;
        }
    }
}
