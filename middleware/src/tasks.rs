//! Background tasks of a stack, and the signal that ends them.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::instrument::WithSubscriber;

use crate::Place;
use crate::panic::message;

/// How long [`Tasks::retire`] waits for tasks that do not reach an `await`.
const GRACE: Duration = Duration::from_secs(5);

/// The tasks that the layers and apps of one stack have spawned.
#[derive(Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    retired: CancellationToken,
}

impl Tasks {
    /// Runs `task` on the current runtime until it ends or the stack retires.
    pub(crate) fn spawn(&self, place: &Place, task: impl Future<Output = ()> + Send + 'static) {
        let (place, retired) = (place.clone(), self.retired.clone());
        let task = async move {
            let task = retired.run_until_cancelled(task);
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(place = place.as_str(), "a background task panicked: {}", message(&*panic));
            }
        };
        // The task logs to the subscriber of its stack. A test has its own.
        self.tracker.spawn(task.with_current_subscriber());
    }

    pub(crate) fn retired(&self) -> Retired {
        Retired(self.retired.clone())
    }

    pub(crate) fn draining(&self) -> Draining {
        Draining(self.draining.clone())
    }

    /// Sends the signal that the server drains.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Sends the signal. Tasks are dropped at their next `await`.
    pub(crate) fn cancel(&self) {
        self.retired.cancel();
    }

    /// [`Tasks::cancel`], and waits for the tasks.
    pub(crate) async fn retire(&self) {
        self.cancel();
        self.tracker.close();
        if timeout(GRACE, self.tracker.wait()).await.is_err() {
            let running = self.tracker.len();
            tracing::warn!(running, "background tasks of a retired stack still run after {} s", GRACE.as_secs());
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The signal that a stack retires; [`Context::retired`](crate::Context::retired) gives it.
///
/// It is no `CancellationToken`: with that, a layer could cancel the tasks of all others.
#[derive(Clone, Debug)]
pub struct Retired(CancellationToken);

impl Retired {
    /// Waits until the stack retires; returns at once if it has.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the stack has retired.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// The signal that the server is about to end: it drains, and what does not end by itself has that time to end in its own terms.
/// [`Context::draining`](crate::Context::draining) gives it.
#[derive(Clone, Debug)]
pub struct Draining(CancellationToken);

impl Draining {
    /// Waits until the server drains; returns at once if it does.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn place() -> Place {
        Place::new("health")
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_runs_until_the_stack_retires_and_is_dropped_then() {
        let (tasks, turns) = (Tasks::default(), Arc::new(AtomicUsize::new(0)));
        let (counted, held) = (Arc::clone(&turns), Arc::new(()));
        let dropped = Arc::downgrade(&held);
        tasks.spawn(&place(), async move {
            let _held = held;
            loop {
                sleep(Duration::from_secs(1)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        sleep(Duration::from_millis(3500)).await;
        let begin = Instant::now();
        tasks.retire().await;
        assert_eq!((turns.load(Ordering::SeqCst), begin.elapsed()), (3, Duration::ZERO));
        assert!(dropped.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_a_task_that_does_not_return() {
        let tasks = Tasks::default();
        let _stuck = tasks.tracker.token();
        let begin = Instant::now();
        tasks.retire().await;
        assert_eq!(begin.elapsed(), GRACE);
    }

    #[tokio::test]
    async fn whoever_waits_hears_that_the_stack_has_retired() {
        let tasks = Tasks::default();
        let retired = tasks.retired();
        assert!(!retired.is_retired());
        tasks.retire().await;
        retired.wait().await;
        assert!(retired.is_retired());
    }

    #[tokio::test]
    async fn tasks_of_a_stack_that_is_dropped_end() {
        let tasks = Tasks::default();
        let (held, mut dropped) = oneshot::channel::<()>();
        tasks.spawn(&place(), async move {
            let _held = held;
            pending().await
        });
        drop(tasks);
        assert!((&mut dropped).await.is_err());
    }

    #[tokio::test]
    async fn a_task_that_comes_too_late_does_not_start() {
        let tasks = Tasks::default();
        tasks.retire().await;
        tasks.spawn(&place(), async { panic!("started") });
        tasks.retire().await;
    }
}
