//! Tells the app about workers that have ended, in a worker that lives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::live::{LiveWorkers, WorkerState};
use crate::worker::boot::WorkerEnded;
use crate::worker::link::frame::ToWorker;
use crate::worker::link::server_end::ServerEnd;

/// How many ends wait for a worker that can be told.
const WAITING: usize = 1024;

/// The ends of the workers of one app, also those of a stack that was replaced.
#[derive(Default)]
pub(crate) struct ExitNotices(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    pools: Vec<Weak<LiveWorkers>>,
    /// Ends that no worker was told yet, the oldest first.
    waiting: VecDeque<WorkerEnded>,
}

impl ExitNotices {
    /// Adds the workers of a pool.
    pub(super) fn add(&self, live: &Arc<LiveWorkers>) {
        let mut inner = self.lock();
        inner.pools.retain(|pool| pool.strong_count() > 0);
        inner.pools.push(Arc::downgrade(live));
    }

    /// Tells a worker that takes calls, or the next one that will.
    pub(super) fn tell(&self, ended: WorkerEnded) {
        let mut inner = self.lock();
        let pools: Vec<_> = inner.pools.iter().filter_map(Weak::upgrade).collect();
        let mut workers = pools.iter().rev().flat_map(|pool| pool.entries());
        match workers.find(|worker| worker.state == WorkerState::Ready && worker.backend.is_some() && worker.pid != ended.pid) {
            Some(worker) => send(&worker.link, &ended),
            None => {
                inner.waiting.push_back(ended);
                if inner.waiting.len() > WAITING {
                    inner.waiting.pop_front();
                }
            }
        }
    }

    /// Tells a worker that takes calls from now on what no other was told.
    pub(super) fn tell_waiting(&self, link: &ServerEnd) {
        for ended in std::mem::take(&mut self.lock().waiting) {
            send(link, &ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(link: &ServerEnd, ended: &WorkerEnded) {
    // A struct of a number and text always serializes.
    link.send(&ToWorker::WorkerEnded(serde_json::to_vec(ended).unwrap_or_default().into()));
}
