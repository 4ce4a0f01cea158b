//! Retries: which requests are sent again after a failure, and how many.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use ziggurat_middleware::{Finding, Findings, Percent, units};

use super::failure::{Failure, FailureKind, FailurePhase};

/// Which requests are sent again after a failure, to another server if there is one.
///
/// A request is sent again only if its response has not begun and its body fits into `buffer`. Its method must be idempotent (RFC 9110 section 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE),
/// unless the server cannot have processed it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryOptions {
    /// The most times that a request is sent, including the first.
    #[schemars(range(min = 2, max = 10))]
    attempts: u32,
    /// The failures: `"connect"` (no connection), `"reset"` (the connection broke before the response), `"timeout"` (no response in time), and the statuses 502, 503 and 504.
    on: Vec<RetryOn>,
    /// The most requests that are sent again because of `"reset"`, `"timeout"` or a status: a share of the requests of the last ten seconds, but at least 10. The budget protects servers that fail
    /// from additional load.
    budget: Percent,
    /// The largest request body that is kept in memory to be sent again.
    buffer: units::Size,
}

/// A failure that a request is sent again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryOn {
    Connect,
    Reset,
    Timeout,
    Status(u16),
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { attempts: 2, on: vec![RetryOn::Connect, RetryOn::Reset], budget: Percent(20), buffer: units::Size::kib(64) }
    }
}

/// The largest body that may be kept.
const LARGEST: units::Size = units::Size::mib(16);

impl RetryOptions {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        if !(2..=10).contains(&self.attempts) {
            let finding = Finding::new(format!("`attempts` is {}", self.attempts)).at("retry").at("attempts");
            findings.push(finding.hint("between 2 and 10; to send nothing again, write `\"retry\": false`"));
        }
        if self.buffer > LARGEST {
            let finding = Finding::new(format!("`{}` of memory for each request is too much", self.buffer)).at("retry").at("buffer");
            findings.push(finding.hint(format!("{LARGEST} or less; usual are some KiB")));
        }
    }
}

/// The buffer without `retry`: a request that the upstream has not processed is still sent again.
const BUFFER: units::Size = units::Size::kib(64);

/// The octets of a body that are kept.
pub(super) fn buffer(options: Option<&RetryOptions>) -> usize {
    usize::try_from(options.map_or(BUFFER, |options| options.buffer).0).unwrap_or(usize::MAX)
}

/// The attempts to have one request answered.
pub(super) struct Attempts<'a> {
    options: Option<&'a RetryOptions>,
    budget: &'a RetryBudget,
    /// Whether the method may be repeated.
    is_idempotent: bool,
    /// How often the request was sent, compared with `attempts`.
    sent: u32,
    /// How often it was sent again because the upstream had not processed it.
    free: u32,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Answer the client.
    Stop,
    /// Send the request to the same endpoint on a new connection.
    Again,
    /// Send the request to another endpoint, if there is one.
    Elsewhere,
}

/// The largest value of `Attempts::free`.
const MOST_FREE: u32 = 3;

impl<'a> Attempts<'a> {
    pub(super) fn new(options: Option<&'a RetryOptions>, budget: &'a RetryBudget, is_idempotent: bool) -> Self {
        budget.count();
        Self { options, budget, is_idempotent, sent: 1, free: 0 }
    }

    /// The number of this attempt, counted from 1.
    pub(super) const fn number(&self) -> u32 {
        self.sent + self.free
    }

    /// What to do after a failure. `can_send` tells whether the body can be sent again.
    pub(super) fn after(&mut self, failure: &Failure, can_send: bool) -> RetryDecision {
        if !can_send {
            return RetryDecision::Stop;
        }
        let free = match failure.kind {
            FailureKind::Unsent => Some(RetryDecision::Again),
            FailureKind::Stale if self.is_idempotent => Some(RetryDecision::Again),
            FailureKind::Refused => Some(RetryDecision::Elsewhere),
            _ => None,
        };
        if let Some(next) = free {
            self.free += 1;
            return if self.free <= MOST_FREE { next } else { RetryDecision::Stop };
        }
        let listed = match (failure.kind, failure.phase) {
            (FailureKind::Unreachable | FailureKind::Full, _) | (FailureKind::Timeout, FailurePhase::Connect) => RetryOn::Connect,
            (FailureKind::Reset, _) => RetryOn::Reset,
            (FailureKind::Timeout, FailurePhase::Head) => RetryOn::Timeout,
            _ => return RetryDecision::Stop,
        };
        self.listed(listed, failure.is_unprocessed())
    }

    /// What to do after a response with this status.
    pub(super) fn after_status(&mut self, status: StatusCode, can_send: bool) -> RetryDecision {
        if can_send { self.listed(RetryOn::Status(status.as_u16()), false) } else { RetryDecision::Stop }
    }

    fn listed(&mut self, cause: RetryOn, is_unprocessed: bool) -> RetryDecision {
        let Some(options) = self.options else { return RetryDecision::Stop };
        let is_allowed = options.on.contains(&cause) && (is_unprocessed || self.is_idempotent) && self.sent < options.attempts;
        if !is_allowed || (!is_unprocessed && !self.budget.take(options.budget)) {
            return RetryDecision::Stop;
        }
        self.sent += 1;
        RetryDecision::Elsewhere
    }

    /// The pause before the next attempt: none before the second one, then a short one of random length.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.sent > 2).then(|| Duration::from_millis(20 + fastrand::u64(..30)))
    }
}

/// Counts requests and those sent again over the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    seconds: [(u64, u64); SECONDS],
    /// The second that is counted, since `start`.
    now: u64,
    start: Option<Instant>,
}

const SECONDS: usize = 10;

/// Requests that may be sent again in any case, within ten seconds.
const FLOOR: u64 = 10;

impl RetryBudget {
    /// Counts a request.
    fn count(&self) {
        self.with(|window, at| window.seconds[at].0 += 1);
    }

    /// Whether one more request may be sent again.
    fn take(&self, share: Percent) -> bool {
        self.with(|window, at| {
            let (requests, resent) = window.seconds.iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1));
            let is_allowed = resent < FLOOR.max(share.of(requests));
            window.seconds[at].1 += u64::from(is_allowed);
            is_allowed
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Window, usize) -> T) -> T {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *window.start.get_or_insert_with(Instant::now);
        let now = start.elapsed().as_secs();
        for second in window.now + 1..=now.min(window.now + SECONDS as u64) {
            window.seconds[second as usize % SECONDS] = (0, 0);
        }
        if now > window.now + SECONDS as u64 {
            window.seconds = [(0, 0); SECONDS];
        }
        window.now = now.max(window.now);
        let at = window.now as usize % SECONDS;
        act(&mut window, at)
    }
}

const ON: &str = "`\"connect\"`, `\"reset\"`, `\"timeout\"`, 502, 503 or 504";

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = RetryOn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ON)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RetryOn, E> {
                match text {
                    "connect" => Ok(RetryOn::Connect),
                    "reset" => Ok(RetryOn::Reset),
                    "timeout" => Ok(RetryOn::Timeout),
                    other => Err(E::custom(format!("`{other}` is not a failure that a request is sent again after\nhint: write {ON}"))),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RetryOn, E> {
                match number {
                    502..=504 => Ok(RetryOn::Status(number as u16)),
                    _ => Err(E::custom(format!("status {number} does not say that another attempt may help\nhint: write {ON}"))),
                }
            }
        }

        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["connect", "reset", "timeout", 502, 503, 504] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> RetryOptions {
        serde_json::from_str(r#"{ "attempts": 3, "on": ["connect", "reset", "timeout", 502, 503, 504] }"#).unwrap()
    }

    #[test]
    fn what_may_have_been_processed_is_repeated_only_where_the_method_allows_it() {
        use FailureKind::*;
        use FailurePhase::*;
        let options = all();
        for (kind, phase, idempotent, other) in [
            (Unreachable, Connect, RetryDecision::Elsewhere, RetryDecision::Elsewhere),
            (Timeout, Connect, RetryDecision::Elsewhere, RetryDecision::Elsewhere),
            (Full, Connect, RetryDecision::Elsewhere, RetryDecision::Elsewhere),
            (Unsent, Head, RetryDecision::Again, RetryDecision::Again),
            (Refused, Head, RetryDecision::Elsewhere, RetryDecision::Elsewhere),
            (Stale, Head, RetryDecision::Again, RetryDecision::Stop),
            (Reset, Head, RetryDecision::Elsewhere, RetryDecision::Stop),
            (Timeout, Head, RetryDecision::Elsewhere, RetryDecision::Stop),
            (Malformed, Head, RetryDecision::Stop, RetryDecision::Stop),
            (Cut, Body, RetryDecision::Stop, RetryDecision::Stop),
        ] {
            for (is_idempotent, expected) in [(true, idempotent), (false, other)] {
                let budget = RetryBudget::default();
                let failure = Failure::new(kind, phase, "");
                assert_eq!(
                    Attempts::new(Some(&options), &budget, is_idempotent).after(&failure, true),
                    expected,
                    "{kind:?} {is_idempotent}"
                );
                assert_eq!(Attempts::new(Some(&options), &budget, is_idempotent).after(&failure, false), RetryDecision::Stop);
            }
        }
    }

    #[test]
    fn attempts_are_bounded_whatever_fails() {
        let (options, budget) = (all(), RetryBudget::default());
        for (kind, most) in [(FailureKind::Unreachable, 2), (FailureKind::Stale, MOST_FREE), (FailureKind::Refused, MOST_FREE)] {
            let mut attempts = Attempts::new(Some(&options), &budget, true);
            let resent =
                (0..20).take_while(|_| attempts.after(&Failure::new(kind, FailurePhase::Head, ""), true) != RetryDecision::Stop).count();
            assert_eq!(resent as u32, most, "{kind:?}");
        }
    }

    #[test]
    fn without_retries_only_what_the_upstream_has_not_processed_is_sent_again() {
        let budget = RetryBudget::default();
        let after = |kind| Attempts::new(None, &budget, true).after(&Failure::new(kind, FailurePhase::Head, ""), true);
        assert_eq!([after(FailureKind::Unreachable), after(FailureKind::Reset)], [RetryDecision::Stop; 2]);
        assert_eq!([after(FailureKind::Stale), after(FailureKind::Refused)], [RetryDecision::Again, RetryDecision::Elsewhere]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_failures_at_once_are_not_a_thousand_retries() {
        let (options, budget) = (all(), RetryBudget::default());
        let resent = |n: u32| {
            let mut attempts: Vec<_> = (0..n).map(|_| Attempts::new(Some(&options), &budget, true)).collect();
            let failure = Failure::new(FailureKind::Reset, FailurePhase::Head, "");
            attempts.iter_mut().filter_map(|attempts| (attempts.after(&failure, true) != RetryDecision::Stop).then_some(())).count()
        };
        assert_eq!(resent(1000), 200);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(resent(20), 10);
    }
}
