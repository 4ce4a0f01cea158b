//! The progress of an upload, and the timeout of the response head.
//!
//! Only the time in which the upstream has to act counts: while it does not read the body, and after it has read all of it. The time in which the client sends does not count.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

/// The progress of one upload.
pub(crate) struct UploadProgress {
    step: Mutex<Step>,
    /// Whether the body waits for `100 Continue` (RFC 9110 section 10.1.1).
    is_held: AtomicBool,
    /// Wakes the task that sends the body.
    waker: AtomicWaker,
    /// How many informational responses have come.
    informed: AtomicU32,
    /// Wakes the task that waits for the head.
    head: AtomicWaker,
}

#[derive(Clone, Copy)]
enum Step {
    /// The upstream has to read, or to answer. Since then.
    Upstream(Instant),
    /// The client has to send more.
    Client,
}

/// The most informational responses before the final one.
const INFORMATIONAL: u32 = 32;

/// How long the body waits for `100 Continue`.
const CONTINUE: Duration = Duration::from_secs(1);

impl UploadProgress {
    pub(super) fn new() -> Self {
        Self {
            step: Mutex::new(Step::Upstream(Instant::now())),
            is_held: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            informed: AtomicU32::new(0),
            head: AtomicWaker::new(),
        }
    }

    /// An informational response has come. `100 Continue` lets the body go.
    pub(super) fn inform(&self, status: StatusCode) {
        if self.informed.fetch_add(1, SeqCst) >= INFORMATIONAL {
            self.head.wake();
        }
        if status == StatusCode::CONTINUE {
            self.allow();
        }
    }

    /// Whether more informational responses have come than may be.
    pub(super) fn is_flooded(&self, cx: &Context<'_>) -> bool {
        self.head.register(cx.waker());
        self.informed.load(SeqCst) > INFORMATIONAL
    }

    /// Holds the body until [`UploadProgress::allow`].
    pub(crate) fn hold(&self) {
        self.is_held.store(true, SeqCst);
    }

    /// Lets the body go.
    pub(crate) fn allow(&self) {
        self.is_held.store(false, SeqCst);
        self.waker.wake();
    }

    pub(super) fn poll_allowed(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_held.load(SeqCst) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.is_held.load(SeqCst) { Poll::Pending } else { Poll::Ready(()) }
    }

    pub(super) fn step<T>(&self, outcome: &Poll<T>) {
        *self.lock() = if outcome.is_pending() { Step::Client } else { Step::Upstream(Instant::now()) };
    }

    pub(super) fn finish(&self) {
        *self.lock() = Step::Upstream(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the response head. `None` if the upstream has not acted for `time`.
    pub(crate) async fn in_time<T>(&self, head: impl Future<Output = T>, time: Duration) -> Option<T> {
        let mut head = pin!(head);
        if self.is_held.load(SeqCst) {
            if let Ok(head) = timeout_at(Instant::now() + CONTINUE.min(time), &mut head).await {
                return Some(head);
            }
            self.allow();
        }
        loop {
            let step = *self.lock();
            let (since, is_upstream) = match step {
                Step::Upstream(since) => (since, true),
                Step::Client => (Instant::now(), false),
            };
            let until = since + time;
            if is_upstream && until <= Instant::now() {
                return None;
            }
            if let Ok(head) = timeout_at(until, &mut head).await {
                return Some(head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_or_waits_for_the_client_is_not_late() {
        let progress = Arc::new(UploadProgress::new());
        let steps = Arc::clone(&progress);
        let started = Instant::now();
        tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(SECOND / 2).await;
                steps.step(&Poll::Ready(()));
            }
            steps.step(&Poll::<()>::Pending);
            tokio::time::sleep(5 * SECOND).await;
            steps.step(&Poll::Ready(()));
        });
        assert!(progress.in_time(pending::<()>(), SECOND).await.is_none());
        let late = started.elapsed();
        assert!(late >= 8 * SECOND && late < 9 * SECOND, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_body_is_sent_after_a_second() {
        let progress = UploadProgress::new();
        progress.hold();
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(progress.poll_allowed(&cx).is_pending());
        assert!(progress.in_time(pending::<()>(), 3 * SECOND).await.is_none());
        assert!(progress.poll_allowed(&cx).is_ready());
    }
}
