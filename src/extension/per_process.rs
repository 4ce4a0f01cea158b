//! A value per process. After a fork the child makes its own: the parent's threads are not there, and its locks may be held for ever.

use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

/// A value that is made at most once in each process. A value that a fork inherited is leaked: dropping it could wait for threads that do not
/// exist in this process.
pub(super) struct PerProcess<T>(ArcSwap<ProcessCell<T>>);

/// The value of one process.
pub(super) struct ProcessCell<T> {
    process: u32,
    value: OnceLock<T>,
    initializing: Mutex<()>,
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(ProcessCell::new()))
    }
}

impl<T> PerProcess<T> {
    /// The cell of this process. Never blocks.
    pub(super) fn cell(&self) -> Arc<ProcessCell<T>> {
        let cell = self.0.load_full();
        if cell.is_own() {
            return cell;
        }
        let found = self.0.compare_and_swap(&cell, Arc::new(ProcessCell::new()));
        if Arc::ptr_eq(&found, &cell) {
            std::mem::forget(cell);
        }
        self.0.load_full()
    }

    /// Takes the cell of this process out and leaves an empty one.
    pub(super) fn take(&self) -> Arc<ProcessCell<T>> {
        // Leaks an inherited value, so that the swap does not drop it.
        self.cell();
        self.0.swap(Arc::new(ProcessCell::new()))
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let cell = self.0.load_full();
        if !cell.is_own() {
            std::mem::forget(cell);
        }
    }
}

impl<T> ProcessCell<T> {
    fn new() -> Self {
        Self { process: process::id(), value: OnceLock::new(), initializing: Mutex::new(()) }
    }

    fn is_own(&self) -> bool {
        self.process == process::id()
    }

    /// The value, if it has been made.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, made now if it has not been. Blocks while another thread makes it, so call it without the interpreter: `make` may need that.
    pub(super) fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let initializing = self.initializing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = make()?;
        let value = self.value.get_or_init(|| value);
        drop(initializing);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_value_is_made_once_however_many_threads_ask() {
        let (per_process, count) = (PerProcess::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| per_process.cell().get_or_try_init(|| Ok::<_, ()>(count.fetch_add(1, Ordering::SeqCst))).copied().unwrap());
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn a_failed_attempt_is_repeated() {
        let per_process = PerProcess::<u8>::default();
        assert_eq!(per_process.cell().get_or_try_init(|| Err("no")), Err("no"));
        assert_eq!(per_process.cell().get_or_try_init(|| Ok::<_, ()>(7)), Ok(&7));
        assert_eq!(per_process.cell().get(), Some(&7));
    }

    #[test]
    fn the_value_of_a_parent_process_is_neither_used_nor_dropped() {
        let parents = Arc::new(());
        let per_process = PerProcess(ArcSwap::from_pointee(ProcessCell {
            process: process::id() + 1,
            value: OnceLock::from(Arc::clone(&parents)),
            initializing: Mutex::new(()),
        }));
        assert!(per_process.cell().get().is_none());
        drop(per_process);
        assert_eq!(Arc::strong_count(&parents), 2);
    }

    #[test]
    fn a_value_that_was_taken_out_is_made_again() {
        let per_process = PerProcess::default();
        per_process.cell().get_or_try_init(|| Ok::<_, ()>(1)).unwrap();
        assert_eq!(per_process.take().get(), Some(&1));
        assert_eq!(per_process.cell().get(), None);
    }
}
