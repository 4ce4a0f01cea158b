//! What each process has to make for itself, because threads and the locks that they hold do not come along into a fork.

use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

/// A value that is made at most once in each process. What a fork finds of its parent's is leaked: to drop it could be to wait for threads
/// that are not there.
pub(super) struct PerProcess<T>(ArcSwap<Slot<T>>);

/// One process's own.
pub(super) struct Slot<T> {
    process: u32,
    made: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Slot::new()))
    }
}

impl<T> PerProcess<T> {
    /// This process's. Never waits.
    pub(super) fn slot(&self) -> Arc<Slot<T>> {
        let slot = self.0.load_full();
        if slot.is_own() {
            return slot;
        }
        let found = self.0.compare_and_swap(&slot, Arc::new(Slot::new()));
        if Arc::ptr_eq(&found, &slot) {
            std::mem::forget(slot);
        }
        self.0.load_full()
    }

    /// Takes this process's out; a new one is made when it is asked for.
    pub(super) fn take(&self) -> Arc<Slot<T>> {
        // What may be a parent's is leaked by that.
        self.slot();
        self.0.swap(Arc::new(Slot::new()))
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let slot = self.0.load_full();
        if !slot.is_own() {
            std::mem::forget(slot);
        }
    }
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self { process: process::id(), made: OnceLock::new(), making: Mutex::new(()) }
    }

    fn is_own(&self) -> bool {
        self.process == process::id()
    }

    /// The value, if it is made.
    pub(super) fn get(&self) -> Option<&T> {
        self.made.get()
    }

    /// The value, made now if it is not; waits for another thread that is making it. (The interpreter must not be held: who makes it may want it.)
    pub(super) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = make()?;
        let made = self.made.get_or_init(|| made);
        drop(making);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn it_is_made_once_however_many_ask() {
        let (per_process, count) = (PerProcess::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| per_process.slot().get_or_make(|| Ok::<_, ()>(count.fetch_add(1, Ordering::SeqCst))).copied().unwrap());
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn what_failed_is_tried_again() {
        let per_process = PerProcess::<u8>::default();
        assert_eq!(per_process.slot().get_or_make(|| Err("no")), Err("no"));
        assert_eq!(per_process.slot().get_or_make(|| Ok::<_, ()>(7)), Ok(&7));
        assert_eq!(per_process.slot().get(), Some(&7));
    }

    #[test]
    fn what_a_parent_made_is_neither_used_nor_dropped() {
        let parents = Arc::new(());
        let per_process = PerProcess(ArcSwap::from_pointee(Slot {
            process: process::id() + 1,
            made: OnceLock::from(Arc::clone(&parents)),
            making: Mutex::new(()),
        }));
        assert!(per_process.slot().get().is_none());
        drop(per_process);
        assert_eq!(Arc::strong_count(&parents), 2);
    }

    #[test]
    fn what_is_taken_out_is_made_anew() {
        let per_process = PerProcess::default();
        per_process.slot().get_or_make(|| Ok::<_, ()>(1)).unwrap();
        assert_eq!(per_process.take().get(), Some(&1));
        assert_eq!(per_process.slot().get(), None);
    }
}
