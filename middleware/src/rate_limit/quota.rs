//! The generic cell rate algorithm, without clock and memory.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text_or_number;

/// A number of requests in a time, for instance `10/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    requests: u64,
    unit: &'static str,
    seconds: u64,
}

impl Rate {
    /// The most requests in any time. Fewer nanoseconds than a thousand from one to the next could not be told apart well.
    pub(super) const MOST: u64 = 1_000_000;
    const UNITS: [(&'static str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];
}

/// How many requests of one key pass: `burst` at once, and then one in every `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds, rounded up: not one request more passes than the file says.
    interval: u64,
    burst: u64,
}

/// Whether a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is within the quota.
    pub is_allowed: bool,
    /// How many more requests pass at once.
    pub remaining: u64,
    /// The time until that is one more.
    pub next: Duration,
}

impl Quota {
    /// The longest time in which a burst comes back.
    pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

    pub(super) fn new(rate: Rate, burst: Option<u64>) -> Self {
        let interval = (rate.seconds * 1_000_000_000).div_ceil(rate.requests);
        Self { interval, burst: burst.unwrap_or(rate.requests) }
    }

    /// So many requests pass at once, and then one in every `interval`. Both are at least 1, the interval in nanoseconds.
    #[must_use]
    pub fn every(interval: Duration, burst: u64) -> Self {
        Self { interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1), burst: burst.max(1) }
    }

    /// The time from one request to the next of those that keep the rate.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many requests pass at once after a quiet time.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The time in which a whole burst comes back.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.interval.saturating_mul(self.burst))
    }

    /// What a request gets of whose key so much of the [window](Self::window) is used up: for a store that keeps that time.
    #[must_use]
    pub fn verdict(&self, used: Duration) -> Verdict {
        self.judge(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), 0).0
    }

    /// Judges a request at `now` of a key with this theoretical arrival time, both in nanoseconds, and gives its next arrival time. One that has passed is as good as none.
    pub(super) fn judge(&self, arrival: u64, now: u64) -> (Verdict, u64) {
        let window = self.interval.saturating_mul(self.burst);
        // The time that is used up. A larger quota of a file before the last reload may have left more than there is now.
        let used = arrival.saturating_sub(now).min(window);
        match window.checked_sub(used + self.interval) {
            Some(left) => {
                let next = self.interval - left % self.interval;
                let verdict = Verdict { is_allowed: true, remaining: left / self.interval, next: Duration::from_nanos(next) };
                (verdict, now + used + self.interval)
            }
            None => {
                let next = Duration::from_nanos(used + self.interval - window);
                (Verdict { is_allowed: false, remaining: 0, next }, now + used)
            }
        }
    }
}

impl Verdict {
    /// The seconds until one more request passes, rounded up: at least 1.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.next.as_secs() + u64::from(self.next.subsec_nanos() > 0)).max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "hint: write a number and a time, as in `\"100/s\"`; times are `s`, `min`, `h`, `d`";
        let (requests, unit) = text.split_once('/').ok_or_else(|| format!("`{}` has no time\n{HINT}", text.escape_debug()))?;
        let Some((unit, seconds)) = Self::UNITS.iter().find(|(name, _)| *name == unit).copied() else {
            return Err(format!("`{}` is not a time that requests are counted in\n{HINT}", unit.escape_debug()));
        };
        match requests.parse() {
            Ok(requests @ 1..=Self::MOST) if requests.to_string() == text[..text.len() - unit.len() - 1] => {
                Ok(Self { requests, unit, seconds })
            }
            _ => Err(format!("`{}` is not a number of requests\nhint: between 1 and {}", requests.escape_debug(), Self::MOST)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.unit)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text_or_number(deserializer, "a number of requests in a time, such as \"100/s\"")
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number of requests in a time: `100/s`, `10/min`, `1000/h`, `5000/d`.",
            "pattern": r"^([1-9][0-9]{0,6}/(s|min|h|d)|.*\$.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(rate: &str, burst: Option<u64>) -> Quota {
        Quota::new(rate.parse().unwrap(), burst)
    }

    #[test]
    fn rates_are_read_and_printed() {
        for text in ["100/s", "10/min", "1000/h", "1/d", "1000000/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("100", "has no time"),
            ("100/m", "times are"),
            ("0/s", "between 1"),
            ("1000001/s", "between 1"),
            ("-1/s", "between 1"),
            ("+1/s", "between 1"),
            ("01/s", "between 1"),
            ("1 /s", "between 1"),
            ("1/ s", "times are"),
            ("/s", "between 1"),
        ] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Rate>("100").unwrap_err().to_string().contains("has no time"));
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_in_every_interval() {
        let quota = quota("10/min", Some(3));
        let (mut arrival, mut seen) = (0, Vec::new());
        for seconds in [0, 0, 0, 0, 5, 6, 6, 12, 30] {
            let (verdict, next) = quota.judge(arrival, 1_000_000_000 * (100 + seconds));
            seen.push((verdict.is_allowed, verdict.remaining, verdict.seconds()));
            arrival = next;
        }
        let expected = [
            (true, 2, 6),
            (true, 1, 6),
            (true, 0, 6),
            (false, 0, 6),
            (false, 0, 1),
            (true, 0, 6),
            (false, 0, 6),
            (true, 0, 6),
            (true, 2, 6),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_wait_is_never_told_as_no_second() {
        let verdict = Verdict { is_allowed: false, remaining: 0, next: Duration::from_nanos(1) };
        assert_eq!(verdict.seconds(), 1);
        assert_eq!(Verdict { next: Duration::from_millis(1001), ..verdict }.seconds(), 2);
        assert_eq!(Verdict { next: Duration::from_secs(2), ..verdict }.seconds(), 2);
    }

    #[test]
    fn a_smaller_quota_after_a_reload_does_not_punish_for_the_larger_one_before() {
        let (_, arrival) = (0..1000).fold((true, 0), |(_, arrival), _| {
            let (verdict, next) = quota("1000/h", None).judge(arrival, 1);
            (verdict.is_allowed, next)
        });
        let (verdict, _) = quota("10/min", None).judge(arrival, 1);
        assert_eq!((verdict.is_allowed, verdict.seconds()), (false, 6));
    }

    /// The other form of the algorithm in ITU-T I.371, the continuous-state leaky bucket: each request adds an interval to a level that falls by one nanosecond in each nanosecond.
    #[derive(Default)]
    struct LeakyBucket {
        level: i128,
        at: i128,
    }

    impl LeakyBucket {
        fn admits(&mut self, quota: Quota, now: u64) -> bool {
            let (interval, now) = (i128::from(quota.interval), i128::from(now));
            let level = (self.level - (now - self.at)).max(0);
            let admits = level <= interval * i128::from(quota.burst) - interval;
            (self.level, self.at) = (if admits { level + interval } else { level }, now);
            admits
        }
    }

    fn any_quota() -> impl Strategy<Value = Quota> {
        let rate = (1..=Rate::MOST, 0..Rate::UNITS.len()).prop_map(|(requests, unit)| {
            let (unit, seconds) = Rate::UNITS[unit];
            Rate { requests, unit, seconds }
        });
        let quota = (prop_oneof![rate, Just("3/s".parse().unwrap()), Just("7/min".parse().unwrap())], 1..200_u64);
        quota.prop_map(|(rate, burst)| Quota::new(rate, Some(burst))).prop_filter("too long", |quota| quota.window() <= Quota::LONGEST)
    }

    proptest! {
        #[test]
        fn the_virtual_scheduler_and_the_leaky_bucket_agree(quota in any_quota(), steps in proptest::collection::vec(0..3_000_u64, 1..300)) {
            let (mut now, mut arrival, mut bucket) = (1, 0, LeakyBucket::default());
            let mut passed = Vec::new();
            for step in steps {
                now += step * quota.interval / 1_000;
                let (verdict, next) = quota.judge(arrival, now);
                arrival = next;
                prop_assert_eq!(verdict.is_allowed, bucket.admits(quota, now));
                prop_assert!(verdict.remaining < quota.burst && !verdict.next.is_zero() && verdict.next <= quota.interval());
                if verdict.is_allowed {
                    passed.push(now);
                }
            }
            // In any time, no more than a burst and what the rate gives in it.
            for (first, start) in passed.iter().enumerate() {
                for (count, end) in passed[first..].iter().enumerate() {
                    prop_assert!((count as u64) < quota.burst + (end - start) / quota.interval);
                }
            }
        }

        #[test]
        fn what_a_verdict_says_comes_true(quota in any_quota(), steps in proptest::collection::vec(0..3_000_u64, 1..50)) {
            let (mut now, mut arrival) = (1, 0);
            for step in steps {
                now += step * quota.interval / 1_000;
                let (verdict, next) = quota.judge(arrival, now);
                let count = |mut arrival: u64, now: u64| (0..).take_while(|_| {
                    let (verdict, next) = quota.judge(arrival, now);
                    arrival = next;
                    verdict.is_allowed
                }).count() as u64;
                prop_assert_eq!(count(next, now), verdict.remaining);
                let later = now + u64::try_from(verdict.next.as_nanos()).unwrap();
                prop_assert_eq!((count(next, later - 1), count(next, later)), (verdict.remaining, verdict.remaining + 1));
                arrival = next;
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{0,8}/?[a-z]{0,4}|.{0,12}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string(), text);
            }
        }
    }
}
