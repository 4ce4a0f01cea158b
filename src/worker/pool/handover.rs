//! From the workers of one stack to those of the next.
//!
//! An app that holds a lock or a port has to end before it starts again (`"replace": "old_first"`). The next pool then pauses the one before. Both have
//! one queue, so requests wait meanwhile and none is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::block_in_place;
use ziggurat_middleware::Retired;

use super::{PoolConfig, WorkerPool};
use crate::worker::admission::Admission;
use crate::worker::boot::Refusal;

/// The pool that has the workers of an app, across reloads.
#[derive(Default)]
pub(crate) struct CurrentPool(Mutex<Weak<WorkerPool>>);

impl CurrentPool {
    /// Starts the workers of the next stack. With [`PoolConfig::old_first`], those of the stack before end first, and `admission` gives way to their queue
    /// if that has the same limits.
    ///
    /// # Errors
    ///
    /// As [`WorkerPool::start`]. The workers before are started again, unless this is development, where an error page takes their place.
    pub(crate) fn replace(
        self: &Arc<Self>,
        config: PoolConfig,
        admission: Arc<Admission>,
        retired: &Retired,
    ) -> Result<Arc<WorkerPool>, Refusal> {
        let before = self.lock().upgrade();
        let (old_first, is_watched) = (config.old_first, config.is_watched);
        let paused = before.as_ref().filter(|_| old_first);
        let admission = paused.map(|before| before.admission()).filter(|queue| queue.is_like(&admission)).unwrap_or(admission);
        if let Some(before) = paused {
            before.pause();
        }
        match WorkerPool::start(config, admission, retired) {
            Ok(pool) => {
                let pool = Arc::new(pool.following(Arc::clone(self), before.as_ref()));
                *self.lock() = Arc::downgrade(&pool);
                Ok(pool)
            }
            Err(refusal) => {
                if let Some(before) = paused.filter(|_| !is_watched) {
                    before.resume();
                }
                Err(refusal)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Weak<WorkerPool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a pool knows of the others of its app.
pub(super) struct Succession {
    current: Arc<CurrentPool>,
    before: Weak<WorkerPool>,
}

impl WorkerPool {
    fn following(mut self, current: Arc<CurrentPool>, before: Option<&Arc<Self>>) -> Self {
        self.succession = Some(Succession { current, before: before.map(Arc::downgrade).unwrap_or_default() });
        self
    }

    /// The queue of the app.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.shared.admission)
    }

    /// Ends all workers. Blocks until that is done; requests have the drain to finish.
    fn pause(&self) {
        self.shared.pause.send_replace(true);
        block_in_place(|| {
            self.runtime.block_on(async {
                let mut paused = self.shared.paused.subscribe();
                tokio::select! {
                    // An error means that the pool is gone.
                    _ = paused.wait_for(|paused| *paused == self.shared.config.workers) => {}
                    () = self.shared.stopping() => return,
                }
                if let Some(template) = &self.shared.template {
                    template.stop().await;
                }
            });
        });
    }

    /// Starts workers again.
    fn resume(&self) {
        self.shared.pause.send_replace(false);
    }

    /// Whether another pool has the queue now, or gets it back.
    pub(super) fn has_queue_for_another(&self) -> bool {
        let Some(Succession { current, before }) = &self.succession else { return false };
        let mut now = current.lock();
        if !std::ptr::eq(now.as_ptr(), self) {
            // The next stack has it.
            return now.upgrade().is_some_and(|next| Arc::ptr_eq(&next.shared.admission, &self.shared.admission));
        }
        // This stack does not serve after all.
        let Some(before) = before.upgrade().filter(|before| !*before.shared.stop.borrow()) else { return false };
        *now = Arc::downgrade(&before);
        drop(now);
        before.resume();
        Arc::ptr_eq(&before.shared.admission, &self.shared.admission)
    }
}
