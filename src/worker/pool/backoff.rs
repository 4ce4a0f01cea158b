//! The delay before a worker is started again.

use std::time::Duration;

/// The delay before the second start of a worker that keeps dying.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest delay for a worker that never becomes ready.
const LONGEST: Duration = Duration::from_secs(10);

/// The longest delay for a worker that becomes ready and then dies: a route that kills its worker must not stop the others.
const LONGEST_READY: Duration = Duration::from_secs(1);

/// A worker that lives this long resets the delay.
const RESET_AFTER: Duration = Duration::from_secs(10);

/// Exponential back-off. The first restart comes at once.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// How many workers in a row died early.
    failures: u32,
}

impl BackOff {
    /// The delay before the next start. `lived` is how long the last worker was ready; `None` if it never was.
    pub(super) fn after(&mut self, lived: Option<Duration>) -> Duration {
        if lived.is_some_and(|lived| lived >= RESET_AFTER) {
            self.failures = 0;
        }
        let longest = if lived.is_some() { LONGEST_READY } else { LONGEST };
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => SHORTEST.saturating_mul(1 << (n - 1).min(16)).min(longest),
        };
        self.failures = self.failures.saturating_add(1);
        // Workers that died together are not started together.
        pause.mul_f64(0.75 + 0.25 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_comes_at_once_and_the_next_ones_ever_later() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.after(None), Duration::ZERO);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            assert_pause(back_off.after(None), pause);
        }
    }

    #[test]
    fn workers_that_became_ready_before_they_died_are_restarted_soon() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.after(Some(Duration::ZERO)), Duration::ZERO);
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_pause(back_off.after(Some(Duration::from_millis(10))), pause);
        }
    }

    fn assert_pause(given: Duration, milliseconds: u64) {
        let most = Duration::from_millis(milliseconds);
        assert!(given <= most && given >= most.mul_f64(0.75), "{given:?} of {most:?}");
    }

    #[test]
    fn a_worker_that_lives_long_resets_the_delay() {
        let mut back_off = BackOff::default();
        for _ in 0..100 {
            back_off.after(None);
        }
        assert_eq!(back_off.after(Some(RESET_AFTER)), Duration::ZERO);
        assert!(back_off.after(None) > Duration::ZERO);
    }
}
