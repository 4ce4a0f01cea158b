//! A store in memory, in place of one on another machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{PlaceBounds, Store, StoreError, StoreFuture, StoreKey, Ticket, Turn};
use crate::rate_limit::{Quota, Verdict};

/// Answers after a time, or not at all. Clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct TestStore(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    is_away: bool,
    arrivals: HashMap<StoreKey, Instant>,
    held: HashMap<StoreKey, Vec<Ticket>>,
    waiting: HashMap<StoreKey, Vec<Ticket>>,
    renewed: usize,
    /// Each with the time after which it expires.
    values: HashMap<StoreKey, (Bytes, Duration)>,
}

impl TestStore {
    pub(crate) const ANSWERS_AFTER: Duration = Duration::from_millis(3);

    pub(crate) fn answering() -> Self {
        Self::default()
    }

    pub(crate) fn away() -> Self {
        let store = Self::default();
        store.go(true);
        store
    }

    /// Goes away, or comes back.
    pub(crate) fn go(&self, away: bool) {
        self.0.lock().unwrap().is_away = away;
    }

    /// How many places are held, and how many requests wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let contents = self.0.lock().unwrap();
        let count = |lists: &HashMap<StoreKey, Vec<Ticket>>| lists.values().map(Vec::len).sum();
        (count(&contents.held), count(&contents.waiting))
    }

    /// The times after which the values expire.
    pub(crate) fn expiries(&self) -> Vec<Duration> {
        self.0.lock().unwrap().values.values().map(|(_, expires)| *expires).collect()
    }

    /// How many places were renewed.
    pub(crate) fn renewed(&self) -> usize {
        self.0.lock().unwrap().renewed
    }

    fn answer<T: Send + 'static>(&self, answer: impl FnOnce(&mut Contents) -> T + Send + 'static) -> StoreFuture<T> {
        let contents = Arc::clone(&self.0);
        Box::pin(async move {
            if contents.lock().unwrap().is_away {
                return Err(StoreError::new("it is away"));
            }
            sleep(Self::ANSWERS_AFTER).await;
            Ok(answer(&mut contents.lock().unwrap()))
        })
    }
}

impl Store for TestStore {
    fn name(&self) -> &str {
        "test"
    }

    fn take(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict> {
        let key = key.clone();
        self.answer(move |contents| {
            let now = Instant::now();
            let arrival = contents.arrivals.entry(key).or_insert(now);
            let used = arrival.saturating_duration_since(now);
            let verdict = quota.verdict(used);
            *arrival = now + if verdict.is_allowed { used + quota.interval() } else { used.min(quota.window()) };
            verdict
        })
    }

    fn peek(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict> {
        let key = key.clone();
        self.answer(move |contents| {
            let now = Instant::now();
            quota.verdict(contents.arrivals.get(&key).map_or(Duration::ZERO, |arrival| arrival.saturating_duration_since(now)))
        })
    }

    fn enter(&self, key: &StoreKey, ticket: Ticket, bounds: PlaceBounds) -> StoreFuture<Turn> {
        let key = key.clone();
        self.answer(move |contents| {
            let (held, waiting) = (contents.held.entry(key.clone()).or_default(), contents.waiting.entry(key).or_default());
            let known = waiting.iter().position(|known| *known == ticket);
            let ahead = known.unwrap_or(waiting.len());
            if held.len() + ahead < bounds.at_most {
                waiting.retain(|known| *known != ticket);
                held.push(ticket);
                return Turn::UnderWay;
            }
            if known.is_none() {
                if waiting.len() >= bounds.queue {
                    return Turn::Refused;
                }
                waiting.push(ticket);
            }
            Turn::Waiting(ahead)
        })
    }

    fn renew(&self, _: &StoreKey, _: Ticket) -> StoreFuture<()> {
        self.answer(|contents| contents.renewed += 1)
    }

    fn leave(&self, key: &StoreKey, ticket: Ticket) {
        let mut contents = self.0.lock().unwrap();
        let Contents { held, waiting, .. } = &mut *contents;
        for list in [held, waiting].into_iter().filter_map(|lists| lists.get_mut(key)) {
            list.retain(|known| *known != ticket);
        }
    }

    fn get(&self, key: &StoreKey) -> StoreFuture<Option<Bytes>> {
        let key = key.clone();
        self.answer(move |contents| contents.values.get(&key).map(|(value, _)| value.clone()))
    }

    fn set(&self, key: &StoreKey, value: Bytes, expires: Duration) -> StoreFuture<()> {
        let key = key.clone();
        self.answer(move |contents| drop(contents.values.insert(key, (value, expires))))
    }

    fn delete(&self, key: &StoreKey) -> StoreFuture<bool> {
        let key = key.clone();
        self.answer(move |contents| contents.values.remove(&key).is_some())
    }
}
