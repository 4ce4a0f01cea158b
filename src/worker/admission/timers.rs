//! What an admission does by the clock: it answers requests that have waited too long, and takes calls back from backends that get nowhere.
//!
//! Each is one task, which runs only while there is something to tick after, and does not keep the admission.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::backends::Recall;
use super::state::AdmissionState;
use super::{Admission, now};
use crate::call::overloaded;

/// How often backends with several calls are looked at.
const TICK: Duration = Duration::from_millis(5);

impl Admission {
    /// Sees to it that calls are answered when they have waited too long.
    pub(super) fn schedule_expiry(self: &Arc<Self>, state: &mut AdmissionState) {
        if !state.is_expiring
            && state.has_waiting()
            && let Some(runtime) = self.runtime.get()
        {
            state.is_expiring = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Sees to it that backends which may get nowhere are watched.
    pub(super) fn schedule_watch(self: &Arc<Self>, state: &mut AdmissionState) {
        if !state.is_watched
            && state.backends.needs_watch()
            && let Some(runtime) = self.runtime.get()
        {
            state.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Answers those that have waited too long. Gives the time at which the next one will have.
    fn sweep(&self) -> Option<Instant> {
        let now = now();
        let due = |since: std::time::Instant| Instant::from_std(since.checked_add(self.wait).unwrap_or(since));
        let mut state = self.lock();
        let late = state.queues.take_while(|call| due(call.since) <= now);
        state.total.refused_waited += late.len() as u64;
        let next = state.queues.heads().map(|call| due(call.since)).min();
        state.is_expiring = next.is_some();
        drop(state);
        for call in late {
            let why = format!("no thread of the app was free for {:?}", self.wait);
            call.responder.fail(overloaded("no thread of the app was free in time", why));
        }
        next
    }

    /// Asks back what backends have that get nowhere. Says whether to tick again.
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
