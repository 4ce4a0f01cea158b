//! A table in memory, of fixed size, that holds a number for each key.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Quota, Verdict};
use crate::metrics::Counter;
use crate::request_key::RequestKey;
use crate::{Context, Metrics};

/// Parts of the table, each with a lock of its own. A power of two.
const SHARDS: usize = 1024;
/// The most keys of a part. They are searched one by one, which is as fast as hashing while they are so few.
const ENTRIES: usize = 256;

/// The arrival times of keys.
///
/// A key is known by its hash, under a secret of this process: a client cannot choose keys that meet. Two keys of 262,144 have the same hash with a probability of 1 in 500 million.
pub(super) struct MemoryStore {
    started: Instant,
    seed: RandomState,
    shards: Box<[Mutex<Shard>]>,
    overflowed: Counter,
}

#[derive(Default)]
struct Shard {
    keys: Vec<u64>,
    /// The theoretical arrival time of each key.
    arrivals: Vec<u64>,
    /// That of all keys for which there is no room.
    overflow: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { started: Instant::now(), seed: RandomState::new(), shards, overflowed: Counter::default() }
    }
}

impl MemoryStore {
    /// Counts a request with this key.
    pub(super) fn take(&self, key: RequestKey<'_>, quota: Quota) -> Verdict {
        self.judge(self.hash(key), quota)
    }

    /// What [`take`](Self::take) would say now. Nothing is counted.
    pub(super) fn peek(&self, key: RequestKey<'_>, quota: Quota) -> Verdict {
        let key = self.hash(key);
        let shard = lock(&self.shards[key as usize % SHARDS]);
        let now = self.now();
        let known = shard.keys.iter().position(|known| *known == key).and_then(|at| shard.arrivals.get(at));
        quota.judge(known.copied().unwrap_or(now), now).0
    }

    /// What a key is known by.
    pub(super) fn hash(&self, key: RequestKey<'_>) -> u64 {
        self.seed.hash_one(key)
    }

    /// Counts a request whose key has this hash.
    pub(super) fn judge(&self, key: u64, quota: Quota) -> Verdict {
        // The time is read under the lock, so that it never runs backwards for a key.
        let mut shard = lock(&self.shards[key as usize % SHARDS]);
        let now = self.now();
        let (arrival, overflows) = shard.arrival(key, now);
        let (verdict, next) = quota.judge(*arrival, now);
        *arrival = next;
        drop(shard);
        if overflows {
            self.overflowed.add(1);
        }
        verdict
    }

    /// Nanoseconds since the start, for 584 years.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The number of keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).keys.len()).sum()
    }

    /// The octets that keys take.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let entries = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            shard.keys.capacity() + shard.arrivals.capacity()
        });
        entries.sum::<usize>() * size_of::<u64>() + SHARDS * size_of::<Mutex<Shard>>()
    }

    /// Shows its figures in the metrics.
    pub(super) fn show(self: &Arc<Self>, context: &Context) {
        let (store, place) = (Arc::clone(self), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let place = [("place", place.as_str())];
            metrics.gauge("ziggurat_rate_limit_keys", "Keys that a rate limit remembers.").sample(&place, store.len());
            let overflow = metrics.counter("ziggurat_rate_limit_overflow_total", "Requests whose keys a rate limit had no room for.");
            overflow.sample(&place, &store.overflowed);
        });
    }
}

impl Shard {
    /// The arrival time of a key, and whether others share it.
    fn arrival(&mut self, key: u64, now: u64) -> (&mut u64, bool) {
        if let Some(at) = self.keys.iter().position(|known| *known == key) {
            return (&mut self.arrivals[at], false);
        }
        if self.keys.len() < ENTRIES {
            if self.keys.is_empty() {
                // At once: what smaller ones leave behind would double the memory of a full table.
                self.keys.reserve_exact(ENTRIES);
                self.arrivals.reserve_exact(ENTRIES);
            }
            self.keys.push(key);
            self.arrivals.push(now);
            let last = self.arrivals.len() - 1;
            return (&mut self.arrivals[last], false);
        }
        // One whose time has passed may send a whole burst, as one that is not known.
        let oldest = self.arrivals.iter().enumerate().min_by_key(|(_, arrival)| **arrival).filter(|(_, arrival)| **arrival <= now);
        match oldest.map(|(at, _)| at) {
            Some(at) => {
                self.keys[at] = key;
                (&mut self.arrivals[at], false)
            }
            None => (&mut self.overflow, true),
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn quota(rate: &str, burst: Option<u64>) -> Quota {
        Quota::new(rate.parse().unwrap(), burst)
    }

    /// Keys as a hash spreads them.
    fn spread(n: u64) -> u64 {
        let mut n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    }

    const BOUND: usize = 5 << 20;

    #[tokio::test(start_paused = true)]
    async fn two_hundred_thousand_clients_are_all_remembered() {
        let (store, quota) = (MemoryStore::default(), quota("1/d", None));
        for pass in [true, false] {
            for client in 0..200_000 {
                assert_eq!(store.judge(spread(client), quota).is_allowed, pass, "{client}");
            }
        }
        assert_eq!((store.len(), store.overflowed.get()), (200_000, 0));
        assert!(store.size() <= BOUND, "{} octets", store.size());
    }

    #[tokio::test(start_paused = true)]
    async fn more_keys_than_there_is_room_for_stay_within_the_bound_and_an_honest_client_has_its_burst() {
        let (store, quota) = (MemoryStore::default(), quota("100/s", None));
        for key in 0..400_000 {
            if key % 1_000 == 0 {
                // As fast as a machine may send: a thousand keys in a millisecond.
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            assert!(store.judge(spread(key), quota).is_allowed);
        }
        assert_eq!(store.overflowed.get(), 0);
        assert!(store.size() <= BOUND, "{} octets", store.size());
        let passed = (0..200).filter(|_| store.judge(spread(u64::MAX), quota).is_allowed).count();
        assert_eq!(passed, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_find_no_room_share_a_limit_and_are_counted() {
        let (store, quota) = (MemoryStore::default(), quota("10/h", None));
        let known = 280_000;
        for key in 0..known {
            store.judge(spread(key), quota);
        }
        assert!(store.len() <= SHARDS * ENTRIES && store.size() <= BOUND, "{}", store.len());
        let overflowed = store.overflowed.get();
        assert!(overflowed > 0);
        // In a part of the table that is full, one key's burst is all that they share.
        let full = |key: &u64| lock(&store.shards[spread(*key) as usize % SHARDS]).keys.len() == ENTRIES;
        let further: Vec<u64> = (known..known + 50_000).filter(full).collect();
        let passed = further.iter().filter(|key| store.judge(spread(**key), quota).is_allowed).count();
        let overflowed = overflowed + further.len() as u64;
        assert_eq!(store.overflowed.get(), overflowed);
        assert!(passed < further.len() && passed <= SHARDS * 10, "{passed} of {}", further.len());
        // Who is known keeps what is left, and when time has passed, there is room again.
        assert!(store.judge(spread(0), quota).remaining < 9);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(store.judge(spread(u64::MAX), quota).remaining, 9);
        assert_eq!(store.overflowed.get(), overflowed);
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_whose_requests_are_longest_ago_makes_room() {
        let quota = quota("10/min", None);
        let mut shard = Shard::default();
        for key in 0..ENTRIES as u64 {
            let (arrival, _) = shard.arrival(key, 1);
            *arrival = quota.judge(1 + key, 1).1 + key;
        }
        let now = shard.arrivals[0] + 1;
        assert!(!shard.arrival(u64::MAX, now).1);
        assert!(shard.keys[0] == u64::MAX && shard.keys[1] == 1);
        assert_eq!(shard.keys.len(), ENTRIES);
    }

    #[test]
    fn a_million_keys_take_no_more_memory_than_the_table() {
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<usize>().unwrap();
            pages * 4096
        };
        let before = resident();
        let (store, quota) = (MemoryStore::default(), quota("100/s", None));
        for key in 0..1_000_000 {
            store.judge(spread(key), quota);
        }
        let grown = resident().saturating_sub(before);
        // Pages of the program itself come to it while it runs.
        assert!(store.size() <= BOUND && grown <= 2 * BOUND, "{grown}");
        assert!((0..100).all(|_| store.judge(spread(u64::MAX), quota).is_allowed));
    }

    proptest! {
        /// A map without bound, of arrival times.
        #[test]
        fn while_there_is_room_each_key_has_its_own_count(steps in proptest::collection::vec((0..20_u64, 0..200_u64), 1..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (store, quota) = (MemoryStore::default(), quota("10/s", Some(3)));
                let (mut model, mut now) = (HashMap::new(), 0);
                for (key, millis) in steps {
                    tokio::time::advance(Duration::from_millis(millis)).await;
                    now += millis * 1_000_000;
                    let arrival = model.entry(key).or_insert(0);
                    let (expected, next) = quota.judge(*arrival, now);
                    *arrival = next;
                    prop_assert_eq!(store.judge(spread(key), quota), expected);
                }
                Ok(())
            })?;
        }
    }
}
