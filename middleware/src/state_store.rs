//! State that survives a reload: each stack holds the values that it asked for, and finds those of the other living stacks.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Place;

/// The values of one stack.
#[derive(Default)]
pub(crate) struct StateStore {
    held: Mutex<HashMap<Key, Arc<Erased>>>,
    /// The values of all living stacks.
    known: Arc<Mutex<HashMap<Key, Weak<Erased>>>>,
}

type Key = (TypeId, Place);
type Erased = dyn Any + Send + Sync;

impl StateStore {
    /// The store of the next stack: it is empty, and finds the values of this one.
    pub(crate) fn successor(&self) -> Self {
        lock(&self.known).retain(|_, value| value.strong_count() > 0);
        Self { held: Mutex::default(), known: Arc::clone(&self.known) }
    }

    /// The places that this stack holds values of.
    pub(crate) fn places(&self) -> HashSet<Place> {
        lock(&self.held).keys().map(|(_, place)| place.clone()).collect()
    }

    /// The value of this place and type; `make` gives it if no living stack has it.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, place: &Place, make: impl FnOnce() -> T) -> Arc<T> {
        let key: Key = (TypeId::of::<T>(), place.clone());
        let find = |known: &HashMap<Key, Weak<Erased>>| known.get(&key)?.upgrade()?.downcast::<T>().ok();
        let found = find(&lock(&self.known));
        let value = found.unwrap_or_else(|| {
            // Called without the lock, because `make` may keep a value itself.
            let made = Arc::new(make());
            let mut known = lock(&self.known);
            find(&known).unwrap_or_else(|| {
                let erased: Arc<Erased> = Arc::clone(&made) as _;
                known.insert(key.clone(), Arc::downgrade(&erased));
                made
            })
        });
        lock(&self.held).insert(key, Arc::clone(&value) as _);
        value
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_generation_finds_what_the_last_one_made() {
        let old = StateStore::default();
        let limits = old.keep(&Place::new("limits"), || Mutex::new(7));
        let new = old.successor();
        let found = new.keep(&Place::new("limits"), || Mutex::new(0));
        assert!(Arc::ptr_eq(&limits, &found));
        drop((old, limits, found));
        assert_eq!(*new.successor().keep(&Place::new("limits"), || Mutex::new(0)).lock().unwrap(), 7);
    }

    #[test]
    fn what_the_next_generation_does_not_ask_for_goes_with_the_last_one() {
        let old = StateStore::default();
        let seen = Arc::downgrade(&old.keep(&Place::new("cache"), || 1));
        let new = old.successor();
        assert!(seen.upgrade().is_some());
        drop(old);
        assert!(seen.upgrade().is_none());
        assert_eq!(*new.keep(&Place::new("cache"), || 2), 2);
    }

    #[test]
    fn a_generation_that_was_never_used_leaves_nothing_behind() {
        let old = StateStore::default();
        let refused = old.successor();
        refused.keep(&Place::new("cache"), || 1);
        drop(refused);
        assert_eq!(*old.keep(&Place::new("cache"), || 2), 2);
    }

    #[test]
    fn place_and_type_both_tell_values_apart() {
        let kept = StateStore::default();
        assert_eq!(
            (
                *kept.keep(&Place::new("a"), || 1_u8),
                *kept.keep(&Place::new("a"), || 2_u16),
                *kept.keep(&Place::new("b"), || 3_u8),
                *kept.keep(&Place::new("a"), || 4_u8)
            ),
            (1, 2, 3, 1)
        );
    }

    #[test]
    fn a_stack_knows_the_places_of_its_own_values() {
        let old = StateStore::default();
        old.keep(&Place::new("b"), || 1_u8);
        old.keep(&Place::new("a"), || 1_u8);
        old.keep(&Place::new("a"), || 1_u16);
        assert_eq!(old.places(), ["a", "b"].map(Place::new).into());
        assert!(old.successor().places().is_empty());
    }

    #[test]
    fn what_is_kept_may_itself_keep_something() {
        let kept = StateStore::default();
        let outer = kept.keep(&Place::new("outer"), || kept.keep(&Place::new("inner"), || 1_u8));
        assert!(Arc::ptr_eq(&*outer, &kept.keep(&Place::new("inner"), || 2_u8)));
    }
}
