//! The lock of a store while this process works on it: its heartbeat, and the signal that it is lost.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::account::on_disk;
use super::failure::Failure;
use super::store::lock::{ABANDONED, BEAT, Lock, Tried, Watch};

/// Holds the lock until it is dropped.
pub(super) struct HeldLock {
    /// Cancelled when the lock is another's. What is under way must not go on.
    pub(super) lost: CancellationToken,
    beat: AbortHandle,
    _lock: Arc<Mutex<Lock>>,
}

impl HeldLock {
    /// Takes the lock, if nobody who is alive has it. `watch` remembers what was seen of the other's lock.
    pub(super) async fn acquire(store: &Path, watch: &Arc<Mutex<Watch>>) -> Result<Option<Self>, Failure> {
        let (store, watch, now) = (store.to_owned(), Arc::clone(watch), Instant::now());
        let tried = on_disk(move || watch.lock().unwrap_or_else(PoisonError::into_inner).try_lock(&store, now)).await?;
        Ok(match tried {
            Tried::Acquired(lock) => {
                let (lock, lost) = (Arc::new(Mutex::new(lock)), CancellationToken::new());
                let beat = tokio::spawn(beat(Arc::clone(&lock), lost.clone())).abort_handle();
                Some(Self { lost, beat, _lock: lock })
            }
            Tried::Held => None,
        })
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

/// Moves the counter until the lock is lost. A lock that cannot be written for so long that others take it for abandoned is lost too.
async fn beat(lock: Arc<Mutex<Lock>>, lost: CancellationToken) {
    let mut last = Instant::now();
    loop {
        sleep(BEAT).await;
        let beating = Arc::clone(&lock);
        match spawn_blocking(move || beating.lock().unwrap_or_else(PoisonError::into_inner).beat()).await {
            Ok(Ok(true)) => last = Instant::now(),
            Ok(Err(_)) if last.elapsed() < ABANDONED / 2 => {}
            _ => return lost.cancel(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_holder_beats_and_others_wait_for_its_end() {
        let store = tempfile::tempdir().unwrap();
        let (one, other) = (Arc::default(), Arc::default());
        let held = HeldLock::acquire(store.path(), &one).await.unwrap().unwrap();
        for _ in 0..30 {
            assert!(HeldLock::acquire(store.path(), &other).await.unwrap().is_none());
            sleep(Duration::from_secs(5)).await;
        }
        assert!(!held.lost.is_cancelled());
        drop(held);
        // The heartbeat may still be writing.
        while HeldLock::acquire(store.path(), &other).await.unwrap().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_whose_lock_is_replaced_hears_of_it() {
        let store = tempfile::tempdir().unwrap();
        let held = HeldLock::acquire(store.path(), &Arc::default()).await.unwrap().unwrap();
        fs::remove_file(store.path().join("lock")).unwrap();
        fs::write(store.path().join("lock"), "another").unwrap();
        held.lost.cancelled().await;
        drop(held);
        assert_eq!(fs::read_to_string(store.path().join("lock")).unwrap(), "another");
    }
}
