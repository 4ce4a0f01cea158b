//! The timer of a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::progress::Phase;

/// Measures how long a connection stays in one phase. The timer is registered once. It is reset only after it has fired, or to fire earlier, so that a
/// request costs no more than reading the clock.
pub(super) struct PhaseTimer {
    phase: Phase,
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl PhaseTimer {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Idle(0), since: Instant::now(), sleep: None }
    }

    /// Restarts the current phase.
    pub(super) fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Ready when `phase` has lasted for `limit`; never without a limit.
    pub(super) fn poll(&mut self, phase: Phase, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        if phase != self.phase {
            self.phase = phase;
            self.since = Instant::now();
        }
        let Some(limit) = limit else { return Poll::Pending };
        let due = self.since + limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due || sleep.is_elapsed() {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}
