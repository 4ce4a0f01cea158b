//! Places that a store gives to requests of several processes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::Context;
use crate::store::{LEASE, PATIENCE, PlaceBounds, Store, StoreError, StoreKey, Ticket, Turn};

/// The places of this process's requests in a store.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<Held>,
    waiting: AtomicUsize,
}

/// The places of requests under way, each in its store.
type Held = HashMap<Ticket, (Arc<dyn Store>, StoreKey)>;

/// A place in the store, or one's turn there. Dropping it gives it up.
pub(super) struct Lease {
    leases: Arc<Leases>,
    store: Arc<dyn Store>,
    key: StoreKey,
    ticket: Ticket,
}

/// How a request has come out of the queue.
pub(super) enum Entered {
    UnderWay(Lease),
    Refused,
    /// The longest wait is over.
    WaitedTooLong,
}

/// The most places that are renewed at once.
const BATCH: usize = 64;
/// How often a request asks again that is the next one, and how often one far behind.
const SOONEST: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_millis(250);
const _: () = assert!(LATEST.as_millis() * 2 <= PATIENCE.as_millis());

impl Leases {
    /// Keeps the places of long requests until the stack of `context` retires.
    pub(super) fn keep_renewing(self: &Arc<Self>, context: &Context) {
        let leases = Arc::clone(self);
        context.spawn(async move {
            let every = LEASE / 3;
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                leases.renew().await;
            }
        });
    }

    /// Asks the store for a place until there is one, the queue is full, or this time is over. `waited` gets the time of a wait.
    ///
    /// # Errors
    ///
    /// If the store does not answer.
    pub(super) async fn enter(
        self: &Arc<Self>,
        store: &Arc<dyn Store>,
        key: StoreKey,
        bounds: PlaceBounds,
        wait: Duration,
        waited: impl Fn(Duration),
    ) -> Result<Entered, StoreError> {
        // From here on: the store may give a place though its answer comes too late.
        let lease = Lease { leases: Arc::clone(self), store: Arc::clone(store), key, ticket: Ticket::random() };
        let (since, mut queued) = (Instant::now(), None);
        let entered = loop {
            match store.enter(&lease.key, lease.ticket, bounds).await? {
                Turn::UnderWay => {
                    self.held().insert(lease.ticket, (Arc::clone(store), lease.key.clone()));
                    break Entered::UnderWay(lease);
                }
                Turn::Refused => break Entered::Refused,
                Turn::Waiting(ahead) => {
                    queued.get_or_insert_with(|| Queued::new(&self.waiting));
                    let left = wait.saturating_sub(since.elapsed());
                    if left.is_zero() {
                        break Entered::WaitedTooLong;
                    }
                    sleep(pause(ahead).min(left)).await;
                }
            }
        };
        if queued.is_some() {
            waited(since.elapsed());
        }
        Ok(entered)
    }

    /// The numbers of this process's requests under way, and of those that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.held().len(), self.waiting.load(Ordering::Relaxed))
    }

    /// Renews all places. One that is not renewed, because the store does not answer, is renewed the next time or lost.
    async fn renew(&self) {
        let held: Vec<_> = self.held().iter().map(|(ticket, (store, key))| (*ticket, Arc::clone(store), key.clone())).collect();
        for batch in held.chunks(BATCH) {
            join_all(batch.iter().map(|(ticket, store, key)| store.renew(key, *ticket))).await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time until a request asks again that has so many before it: not all at the same time.
fn pause(ahead: usize) -> Duration {
    let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
    let pause = SOONEST.saturating_mul(ahead.saturating_add(1)).min(LATEST);
    pause.mul_f64(0.75 + fastrand::f64() / 4.0)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.held().remove(&self.ticket);
        self.store.leave(&self.key, self.ticket);
    }
}

/// Counts a request that waits.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
