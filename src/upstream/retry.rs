//! Which requests are sent again after a failure, and how many of them.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use ziggurat_middleware::{Finding, Findings, units};

use super::failure::{Failure, Kind, Phase};
use super::percent::Percent;

/// Requests that are sent again after a failure, to another endpoint where there is one.
///
/// A request is only sent again while nothing of its answer has reached the client, while its body fits into `buffer`, and while its method may be repeated (RFC 9110 section 9.2.2: GET,
/// HEAD, OPTIONS, TRACE, PUT, DELETE) or the upstream has not begun to process it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryOptions {
    /// How often a request is sent at most, the first time included.
    #[schemars(range(min = 2, max = 10))]
    attempts: u32,
    /// After which failures: `"connect"` (no connection), `"reset"` (it broke before an answer), `"timeout"` (no head of an answer in time), and the statuses 502, 503 and 504.
    on: Vec<RetryOn>,
    /// How many requests may be sent again because of `"reset"`, `"timeout"` or a status: a share of the requests of the last ten seconds, and 10 in any case. It keeps upstreams that fail
    /// from being flooded.
    budget: Percent,
    /// How much of a request's body is kept in memory to be sent again.
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

/// How much of a body is kept where the file says that nothing is sent again: a request that the upstream has not processed still is.
const BUFFER: units::Size = units::Size::kib(64);

/// The octets of a body that are kept.
pub(super) fn buffer(options: Option<&RetryOptions>) -> usize {
    usize::try_from(options.map_or(BUFFER, |options| options.buffer).0).unwrap_or(usize::MAX)
}

/// The attempts to have one request answered.
pub(super) struct Attempts<'a> {
    options: Option<&'a RetryOptions>,
    budget: &'a Budget,
    /// Whether the method may be repeated.
    is_idempotent: bool,
    /// How often the request was sent, as far as that is limited by the file.
    sent: u32,
    /// How often it was sent again because the upstream has seen nothing of it.
    free: u32,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The client hears of it.
    Stop,
    /// The same endpoint gets the request on a new connection.
    Again,
    /// Another endpoint gets the request, where there is one.
    Elsewhere,
}

/// How often a request is sent again at most because the upstream has seen nothing of it.
const MOST_FREE: u32 = 3;

impl<'a> Attempts<'a> {
    pub(super) fn new(options: Option<&'a RetryOptions>, budget: &'a Budget, is_idempotent: bool) -> Self {
        budget.count();
        Self { options, budget, is_idempotent, sent: 1, free: 0 }
    }

    /// Which attempt this is, counted from 1.
    pub(super) const fn number(&self) -> u32 {
        self.sent + self.free
    }

    /// What follows a failure; `can_send` says whether the body can be sent again.
    pub(super) fn after(&mut self, failure: &Failure, can_send: bool) -> Next {
        if !can_send {
            return Next::Stop;
        }
        let free = match failure.kind {
            Kind::Unsent => Some(Next::Again),
            Kind::Stale if self.is_idempotent => Some(Next::Again),
            Kind::Refused => Some(Next::Elsewhere),
            _ => None,
        };
        if let Some(next) = free {
            self.free += 1;
            return if self.free <= MOST_FREE { next } else { Next::Stop };
        }
        let listed = match (failure.kind, failure.phase) {
            (Kind::Unreachable, _) | (Kind::Timeout, Phase::Connect) => RetryOn::Connect,
            (Kind::Reset, _) => RetryOn::Reset,
            (Kind::Timeout, Phase::Head) => RetryOn::Timeout,
            _ => return Next::Stop,
        };
        self.listed(listed, failure.is_unprocessed())
    }

    /// What follows an answer with this status.
    pub(super) fn after_status(&mut self, status: StatusCode, can_send: bool) -> Next {
        if can_send { self.listed(RetryOn::Status(status.as_u16()), false) } else { Next::Stop }
    }

    fn listed(&mut self, cause: RetryOn, is_unprocessed: bool) -> Next {
        let Some(options) = self.options else { return Next::Stop };
        let is_allowed = options.on.contains(&cause) && (is_unprocessed || self.is_idempotent) && self.sent < options.attempts;
        if !is_allowed || (!is_unprocessed && !self.budget.take(options.budget)) {
            return Next::Stop;
        }
        self.sent += 1;
        Next::Elsewhere
    }

    /// The pause before the next attempt: none before the second one, then a short one of random length.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.sent > 2).then(|| Duration::from_millis(20 + fastrand::u64(..30)))
    }
}

/// Counts requests and those sent again over the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<Window>);

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

impl Budget {
    /// One request more.
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
        use Kind::*;
        use Phase::*;
        let options = all();
        for (kind, phase, idempotent, other) in [
            (Unreachable, Connect, Next::Elsewhere, Next::Elsewhere),
            (Timeout, Connect, Next::Elsewhere, Next::Elsewhere),
            (Unsent, Head, Next::Again, Next::Again),
            (Refused, Head, Next::Elsewhere, Next::Elsewhere),
            (Stale, Head, Next::Again, Next::Stop),
            (Reset, Head, Next::Elsewhere, Next::Stop),
            (Timeout, Head, Next::Elsewhere, Next::Stop),
            (Malformed, Head, Next::Stop, Next::Stop),
            (Cut, Body, Next::Stop, Next::Stop),
        ] {
            for (is_idempotent, expected) in [(true, idempotent), (false, other)] {
                let budget = Budget::default();
                let failure = Failure::new(kind, phase, "");
                assert_eq!(
                    Attempts::new(Some(&options), &budget, is_idempotent).after(&failure, true),
                    expected,
                    "{kind:?} {is_idempotent}"
                );
                assert_eq!(Attempts::new(Some(&options), &budget, is_idempotent).after(&failure, false), Next::Stop);
            }
        }
    }

    #[test]
    fn attempts_are_bounded_whatever_fails() {
        let (options, budget) = (all(), Budget::default());
        for (kind, most) in [(Kind::Unreachable, 2), (Kind::Stale, MOST_FREE), (Kind::Refused, MOST_FREE)] {
            let mut attempts = Attempts::new(Some(&options), &budget, true);
            let resent = (0..20).take_while(|_| attempts.after(&Failure::new(kind, Phase::Head, ""), true) != Next::Stop).count();
            assert_eq!(resent as u32, most, "{kind:?}");
        }
    }

    #[test]
    fn without_retries_only_what_the_upstream_has_not_processed_is_sent_again() {
        let budget = Budget::default();
        let after = |kind| Attempts::new(None, &budget, true).after(&Failure::new(kind, Phase::Head, ""), true);
        assert_eq!([after(Kind::Unreachable), after(Kind::Reset)], [Next::Stop; 2]);
        assert_eq!([after(Kind::Stale), after(Kind::Refused)], [Next::Again, Next::Elsewhere]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_failures_at_once_are_not_a_thousand_retries() {
        let (options, budget) = (all(), Budget::default());
        let resent = |n: u32| {
            let mut attempts: Vec<_> = (0..n).map(|_| Attempts::new(Some(&options), &budget, true)).collect();
            let failure = Failure::new(Kind::Reset, Phase::Head, "");
            attempts.iter_mut().filter_map(|attempts| (attempts.after(&failure, true) != Next::Stop).then_some(())).count()
        };
        assert_eq!(resent(1000), 200);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(resent(20), 10);
    }
}
