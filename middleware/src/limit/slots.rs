//! Places for requests under way, some for each key, and those who wait for one.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Parts of the table, each with a lock of its own. A power of two.
const SHARDS: usize = 64;

/// The requests under way and the waiting ones of all keys. A key without either takes no memory, so there are at most as many as requests.
pub(super) struct Slots {
    /// A key is known by its hash, under a secret of this process.
    seed: RandomState,
    shards: Box<[Mutex<HashMap<u64, Slot>>]>,
}

/// The requests of one key. Some are under way as long as some wait.
#[derive(Default)]
struct Slot {
    under_way: usize,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    at_most: usize,
    give: oneshot::Sender<Permit>,
}

/// The place of a request under way. Dropping it gives it to the request of the same key that has waited longest.
pub(super) struct Permit(Option<(Arc<Slots>, u64)>);

/// What a request gets.
pub(super) enum Admission {
    UnderWay(Permit),
    /// A permit follows. Dropping the receiver leaves the queue.
    Waiting(oneshot::Receiver<Permit>),
    /// The queue is full.
    Refused,
}

impl Default for Slots {
    fn default() -> Self {
        Self { seed: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Slots {
    /// Admits a request, if no more than `at_most` of its key are then under way; otherwise it may wait, if no more than `queue` of its key then do.
    ///
    /// Both bounds are those of the request: after a reload, requests with others may be under way.
    pub(super) fn enter(self: &Arc<Self>, key: impl Hash, at_most: usize, queue: usize) -> Admission {
        let key = self.seed.hash_one(key);
        let mut shard = self.shard(key);
        let slot = shard.entry(key).or_default();
        if slot.under_way == 0 || slot.under_way < at_most && slot.waiting.is_empty() {
            slot.under_way += 1;
            return Admission::UnderWay(Permit(Some((Arc::clone(self), key))));
        }
        if slot.waiting.len() >= queue {
            // Those who have left count no more.
            slot.waiting.retain(|waiter| !waiter.give.is_closed());
            if slot.waiting.len() >= queue {
                return Admission::Refused;
            }
        }
        let (give, permit) = oneshot::channel();
        slot.waiting.push_back(Waiter { at_most, give });
        Admission::Waiting(permit)
    }

    /// The numbers of requests under way, and of those that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |counts, shard| {
            lock(shard).values().fold(counts, |(under_way, waiting), slot| {
                (under_way + slot.under_way, waiting + slot.waiting.iter().filter(|waiter| !waiter.give.is_closed()).count())
            })
        })
    }

    /// Ends a request under way, unless there is somebody to hand its place to.
    fn leave(&self, key: u64) -> Option<Waiter> {
        let mut shard = self.shard(key);
        let slot = shard.get_mut(&key)?;
        while slot.waiting.front().is_some_and(|waiter| waiter.give.is_closed()) {
            slot.waiting.pop_front();
        }
        if slot.waiting.front().is_some_and(|waiter| slot.under_way <= waiter.at_most) {
            return slot.waiting.pop_front();
        }
        slot.under_way -= 1;
        if slot.under_way == 0 {
            shard.remove(&key);
        }
        None
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Slot>> {
        lock(&self.shards[key as usize % SHARDS])
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((mut slots, key)) = self.0.take() else { return };
        while let Some(next) = slots.leave(key) {
            match next.give.send(Self(Some((slots, key)))) {
                Ok(()) => return,
                // The waiter has left between both lines.
                Err(mut permit) => match permit.0.take() {
                    Some((back, _)) => slots = back,
                    None => return,
                },
            }
        }
    }
}

fn lock(shard: &Mutex<HashMap<u64, Slot>>) -> MutexGuard<'_, HashMap<u64, Slot>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn under_way(admission: Admission) -> Permit {
        match admission {
            Admission::UnderWay(permit) => permit,
            Admission::Waiting(_) => panic!("it waits"),
            Admission::Refused => panic!("it is refused"),
        }
    }

    fn waiting(admission: Admission) -> oneshot::Receiver<Permit> {
        match admission {
            Admission::Waiting(permit) => permit,
            Admission::UnderWay(_) => panic!("it is under way"),
            Admission::Refused => panic!("it is refused"),
        }
    }

    fn is_empty(slots: &Slots) -> bool {
        slots.shards.iter().all(|shard| lock(shard).is_empty())
    }

    #[test]
    fn who_waits_gets_the_place_of_who_leaves_and_the_one_who_came_first_first() {
        let slots = Arc::new(Slots::default());
        let first = under_way(slots.enter("a", 1, 2));
        let (mut second, mut third) = (waiting(slots.enter("a", 1, 2)), waiting(slots.enter("a", 1, 2)));
        assert!(matches!(slots.enter("a", 1, 2), Admission::Refused));
        drop(under_way(slots.enter("b", 1, 2)));
        assert_eq!(slots.counts(), (1, 2));
        drop(first);
        let second = second.try_recv().unwrap();
        assert!(third.try_recv().is_err());
        drop(second);
        drop(third.try_recv().unwrap());
        assert!(is_empty(&slots));
    }

    #[test]
    fn who_leaves_the_queue_makes_room_in_it_and_takes_no_place() {
        let slots = Arc::new(Slots::default());
        let first = under_way(slots.enter("a", 1, 1));
        drop(waiting(slots.enter("a", 1, 1)));
        let mut next = waiting(slots.enter("a", 1, 1));
        drop(first);
        drop(next.try_recv().unwrap());
        assert!(is_empty(&slots));
    }

    #[test]
    fn a_place_that_was_given_to_who_leaves_goes_to_the_next() {
        let slots = Arc::new(Slots::default());
        let first = under_way(slots.enter("a", 1, 2));
        let (second, mut third) = (waiting(slots.enter("a", 1, 2)), waiting(slots.enter("a", 1, 2)));
        drop(first);
        drop(second);
        assert!(third.try_recv().is_ok());
        assert!(is_empty(&slots));
    }

    #[test]
    fn a_smaller_limit_after_a_reload_holds_as_soon_as_enough_have_left() {
        let slots = Arc::new(Slots::default());
        let mut old: Vec<Permit> = (0..3).map(|_| under_way(slots.enter("a", 3, 0))).collect();
        let mut new = waiting(slots.enter("a", 1, 5));
        drop(old.pop());
        drop(old.pop());
        assert!(new.try_recv().is_err());
        drop(old.pop());
        assert!(new.try_recv().is_ok());
        assert!(is_empty(&slots));
    }

    #[test]
    fn threads_never_have_more_permits_than_there_are_and_none_waits_for_ever() {
        let slots = Arc::new(Slots::default());
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (slots, now, most) = (&slots, &now, &most);
                scope.spawn(move || {
                    for turn in 0..2_000 {
                        let permit = match slots.enter("a", 3, 4) {
                            Admission::UnderWay(permit) => Some(permit),
                            // Some give up just as they get a place.
                            Admission::Waiting(permit) if (turn + thread) % 3 == 0 => {
                                drop(permit);
                                None
                            }
                            Admission::Waiting(permit) => Some(permit.blocking_recv().unwrap()),
                            Admission::Refused => None,
                        };
                        if permit.is_some() {
                            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                            thread::yield_now();
                            now.fetch_sub(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(SeqCst)), "{most:?}");
        assert!(is_empty(&slots));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        /// The n-th of those under way ends.
        Finish(usize),
        /// The n-th of those that wait goes away.
        GiveUp(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![3 => (0..3_u8).prop_map(Step::Enter), 2 => (0..20_usize).prop_map(Step::Finish), 1 => (0..20_usize).prop_map(Step::GiveUp)]
    }

    proptest! {
        /// A list of those under way and one of those that wait, for each key.
        #[test]
        fn places_are_given_as_a_list_says(steps in proptest::collection::vec(step(), 1..200), at_most in 1..4_usize, queue in 0..4_usize) {
            let slots = Arc::new(Slots::default());
            let mut under: Vec<(u8, u32, Permit)> = Vec::new();
            let mut wait: Vec<(u8, u32, oneshot::Receiver<Permit>)> = Vec::new();
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Enter(key) => {
                        number += 1;
                        let of_key = under.iter().filter(|(of, ..)| *of == key).count();
                        let queued = wait.iter().filter(|(of, ..)| *of == key).count();
                        match slots.enter(key, at_most, queue) {
                            Admission::UnderWay(permit) => {
                                prop_assert!(of_key < at_most && queued == 0);
                                under.push((key, number, permit));
                            }
                            Admission::Waiting(permit) => {
                                prop_assert!(of_key == at_most && queued < queue);
                                wait.push((key, number, permit));
                            }
                            Admission::Refused => prop_assert!(of_key == at_most && queued == queue),
                        }
                    }
                    Step::Finish(n) if !under.is_empty() => {
                        let (key, ..) = under.swap_remove(n % under.len());
                        if let Some(at) = wait.iter().position(|(of, ..)| *of == key) {
                            let (key, number, mut permit) = wait.remove(at);
                            under.push((key, number, permit.try_recv().unwrap()));
                        }
                    }
                    Step::GiveUp(n) if !wait.is_empty() => drop(wait.remove(n % wait.len())),
                    Step::Finish(_) | Step::GiveUp(_) => {}
                }
                prop_assert_eq!(slots.counts(), (under.len(), wait.len()));
            }
            drop(wait);
            drop(under);
            prop_assert!(is_empty(&slots));
        }
    }
}
