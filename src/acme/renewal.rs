//! When a certificate is renewed: a pure function of its lifetime, of the window that the authority suggests, and of who asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::time::Timestamp;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// The window in which the authority wants a certificate to be renewed (ARI, RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// A number that differs between names and between machines, so that a fleet does not renew in the same second, and that a restart does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(name: &str, machine: &str) -> Self {
        Self(XxHash3_64::oneshot(format!("{name}\n{machine}").as_bytes()))
    }

    /// This part of a length of time.
    const fn part_of(self, length: Duration) -> Duration {
        let (seed, length) = (self.0 as u128, length.as_secs() as u128);
        // Less than `length`, so it fits.
        Duration::from_secs(((seed * length) >> 64) as u64)
    }
}

/// Below this lifetime a certificate is renewed after half of it.
const SHORT: Duration = Duration::from_secs(10 * 24 * 3600);

/// Renewals are spread over this part of the lifetime.
const SPREAD: u32 = 20;

/// The part of the lifetime that is left at the latest, whatever the authority suggests.
const RESERVE: u32 = 10;

/// When to renew: within the authority's window if it has one; otherwise after two thirds of the lifetime, or half of a short one, less a part that
/// depends on the seed.
pub(crate) fn renew_at(lifetime: Lifetime, window: Option<Window>, seed: Seed) -> Timestamp {
    let whole = lifetime.not_before.until(lifetime.not_after);
    let latest = lifetime.not_after.minus(whole / RESERVE);
    match window.filter(|window| window.start < window.end) {
        Some(window) => window.start.plus(seed.part_of(window.start.until(window.end))).min(latest),
        None => {
            let used = if whole < SHORT { whole / 2 } else { whole / 3 * 2 };
            lifetime.not_before.plus(used).minus(seed.part_of(whole / SPREAD))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn lifetime(days: u64) -> Lifetime {
        Lifetime { not_before: Timestamp(1000 * DAY), not_after: Timestamp((1000 + days) * DAY) }
    }

    fn age_in_days(days: u64, window: Option<Window>) -> f64 {
        let at = renew_at(lifetime(days), window, Seed::new("example.com", "a"));
        lifetime(days).not_before.until(at).as_secs_f64() / DAY as f64
    }

    #[test]
    fn ninety_days_are_renewed_after_two_thirds_and_six_after_half() {
        assert!((55.5..=60.0).contains(&age_in_days(90, None)));
        assert!((28.9..=31.4).contains(&age_in_days(47, None)));
        assert!((2.7..=3.0).contains(&age_in_days(6, None)));
    }

    #[test]
    fn names_and_machines_are_spread() {
        let at = |name: &str, machine: &str| renew_at(lifetime(90), None, Seed::new(name, machine));
        let times: std::collections::BTreeSet<_> = (0..100).map(|n| at("example.com", &n.to_string())).collect();
        assert!(times.len() > 95, "{}", times.len());
        assert_ne!(at("a.test", "m"), at("b.test", "m"));
        assert_eq!(at("a.test", "m"), at("a.test", "m"));
    }

    #[test]
    fn a_window_in_the_past_means_at_once() {
        let window = Window { start: Timestamp(990 * DAY), end: Timestamp(991 * DAY) };
        assert!(renew_at(lifetime(90), Some(window), Seed::new("a", "m")) < Timestamp(991 * DAY));
    }

    #[test]
    fn a_window_that_ends_before_it_starts_is_ignored() {
        let window = Window { start: Timestamp(1020 * DAY), end: Timestamp(1020 * DAY) };
        assert_eq!(age_in_days(90, Some(window)).to_bits(), age_in_days(90, None).to_bits());
    }

    proptest! {
        #[test]
        fn a_renewal_leaves_time_to_try_again(start in 0..u64::MAX / 4, length in 0..u64::MAX / 4, window: Option<(u64, u64)>, seed: u64) {
            let lifetime = Lifetime { not_before: Timestamp(start), not_after: Timestamp(start + length) };
            let window = window.map(|(start, end)| Window { start: Timestamp(start), end: Timestamp(end) });
            let at = renew_at(lifetime, window, Seed(seed));
            prop_assert!(at.until(lifetime.not_after).as_secs() >= length / 10, "{at:?}");
        }

        #[test]
        fn without_a_window_a_renewal_is_never_before_two_fifths(start in 0..1_u64 << 40, length in 0..1_u64 << 40, seed: u64) {
            let lifetime = Lifetime { not_before: Timestamp(start), not_after: Timestamp(start + length) };
            prop_assert!(renew_at(lifetime, None, Seed(seed)) >= Timestamp(start + length / 5 * 2));
        }
    }
}
