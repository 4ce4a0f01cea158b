//! How the body of a request gets on, and how long the answer's head may take meanwhile.
//!
//! Time is held against the upstream only while the upstream is what everybody waits for: while it takes nothing of the body, and once it has all of it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, timeout_at};

/// The progress of one upload.
pub(crate) struct Pace {
    step: Mutex<Step>,
    /// Whether nothing may be sent yet (RFC 9110 section 10.1.1, `Expect: 100-continue`).
    is_held: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Clone, Copy)]
enum Step {
    /// The upstream has to take more.
    Upstream(Instant),
    /// The client has to send more.
    Client,
}

/// How long an upstream has to say `100 Continue` before the body is sent anyway.
const CONTINUE: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) fn new() -> Self {
        Self { step: Mutex::new(Step::Upstream(Instant::now())), is_held: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    /// Sends nothing of the body until [`Pace::allow`].
    pub(crate) fn hold(&self) {
        self.is_held.store(true, SeqCst);
    }

    /// The body may be sent.
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

    /// Waits for the head of an answer, but no longer than `time` without a step forward of which the upstream is capable.
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
        let pace = Arc::new(Pace::new());
        let steps = Arc::clone(&pace);
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
        assert!(pace.in_time(pending::<()>(), SECOND).await.is_none());
        let late = started.elapsed();
        assert!(late >= 8 * SECOND && late < 9 * SECOND, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_body_is_sent_after_a_second() {
        let pace = Pace::new();
        pace.hold();
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(pace.poll_allowed(&cx).is_pending());
        assert!(pace.in_time(pending::<()>(), 3 * SECOND).await.is_none());
        assert!(pace.poll_allowed(&cx).is_ready());
    }
}
