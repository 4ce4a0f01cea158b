//! How long to wait before a worker is started again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pause before the second start of a worker that keeps dying.
const SHORTEST: Duration = Duration::from_millis(100);

/// The pause before the hundredth, where none of them came to live.
const LONGEST: Duration = Duration::from_secs(10);

/// The same where each took calls until it died: a route that ends its worker every time is not to be the end of the others.
const LONGEST_ALIVE: Duration = Duration::from_secs(1);

/// A worker that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Starts at once where a worker lived well, and ever later where one dies after the other.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// How many died in a row without having lived well.
    failures: u32,
}

impl BackOff {
    /// The pause before the next start, after a worker that lived so long; `None` for one that never came to live.
    pub(super) fn after(&mut self, lived: Option<Duration>) -> Duration {
        if lived.is_some_and(|lived| lived >= GOOD) {
            self.failures = 0;
        }
        let longest = if lived.is_some() { LONGEST_ALIVE } else { LONGEST };
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => SHORTEST.saturating_mul(1 << (n - 1).min(16)).min(longest),
        };
        self.failures = self.failures.saturating_add(1);
        // Workers that died together are not started together.
        pause.mul_f64(0.75 + 0.25 * random())
    }
}

/// A number from 0 to 1 that nobody has to be unable to guess.
pub(super) fn random() -> f64 {
    let random = RandomState::new().hash_one(0_u8) >> 11;
    random as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_costs_no_time_and_the_next_ones_ever_more() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.after(None), Duration::ZERO);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            assert_pause(back_off.after(None), pause);
        }
    }

    #[test]
    fn workers_that_took_calls_before_they_died_are_soon_followed_by_others() {
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
    fn a_worker_that_lived_well_makes_up_for_those_before_it() {
        let mut back_off = BackOff::default();
        for _ in 0..100 {
            back_off.after(None);
        }
        assert_eq!(back_off.after(Some(GOOD)), Duration::ZERO);
        assert!(back_off.after(None) > Duration::ZERO);
    }

    #[test]
    fn random_numbers_are_between_0_and_1_and_differ() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.iter().any(|number| (number - numbers[0]).abs() > 0.1));
    }
}
