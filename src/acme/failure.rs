//! Why an attempt to get a certificate failed, and how long the next one waits.

use std::fmt;
use std::time::Duration;

use instant_acme::{Error, Problem};
use serde::{Deserialize, Serialize};

use super::client::LastResponse;

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// When the directory wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// What went wrong. It decides how long the next attempt waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The directory does not answer, or not with what a directory answers.
    Unreachable,
    /// The directory wants fewer requests.
    RateLimited,
    /// The directory does not know the account.
    AccountLost,
    /// The directory does not accept the account, for instance its external account binding.
    AccountRefused,
    /// A challenge was not met: the authority could not reach this server under the name.
    Validation,
    /// The directory refused the order, or did not finish it.
    Order,
    /// The store cannot be read or written, or its lock was lost.
    Store,
    /// The process ended, or nobody knows why the attempt did.
    Interrupted,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The longest time that a directory can make an attempt wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

impl FailureKind {
    /// How long to wait after failure number `count` in a row, from 1. The directory's `Retry-After` counts if it is longer; after a rate limit, it alone
    /// counts. (Let's Encrypt allows 5 failed validations of a name in an hour.)
    pub(crate) fn wait(self, count: u32, retry_after: Option<Duration>) -> Duration {
        let (first, longest) = match self {
            Self::Unreachable | Self::Store => (MINUTE, HOUR),
            Self::AccountLost | Self::AccountRefused => (HOUR, 24 * HOUR),
            Self::RateLimited | Self::Validation | Self::Order | Self::Interrupted => (15 * MINUTE, 6 * HOUR),
        };
        let doubled = first.saturating_mul(1 << count.saturating_sub(1).min(16)).min(longest);
        match retry_after.map(|time| time.clamp(MINUTE, LONGEST_RETRY_AFTER)) {
            Some(time) if self == Self::RateLimited => time,
            Some(time) => time.max(doubled),
            None => doubled,
        }
    }

    /// Whether all names of the directory wait, and not only the one that was tried.
    pub(crate) const fn is_of_directory(self) -> bool {
        matches!(self, Self::Unreachable | Self::AccountLost | Self::AccountRefused)
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: bounded(message.into()), retry_after: None }
    }

    /// What `error` means in a step that fails as `kind` if nothing else is known.
    pub(super) fn of(error: &Error, kind: FailureKind, last: LastResponse) -> Self {
        let kind = match error {
            _ if last.status == 429 => FailureKind::RateLimited,
            Error::Api(problem) => kind_of(problem).unwrap_or(kind),
            Error::Http(_) | Error::InvalidUri(_) | Error::Json(_) | Error::Str(_) | Error::Other(_) => FailureKind::Unreachable,
            _ => kind,
        };
        let message = match error {
            Error::Api(problem) => words(problem),
            Error::Json(error) => format!("the directory answers {} with what is no ACME message: {error}", last.status),
            error => error.to_string(),
        };
        Self { retry_after: last.retry_after, ..Self::new(kind, message) }
    }
}

/// Runs a request again when the directory does not like its nonce (RFC 8555 section 6.5). The library gives up after 3 times.
macro_rules! with_nonce_retries {
    ($request:expr) => {{
        let mut left = $crate::acme::failure::NONCE_RETRIES;
        loop {
            match $request.await {
                Err(::instant_acme::Error::Api(problem)) if left > 0 && $crate::acme::failure::type_of(&problem) == "badNonce" => left -= 1,
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use with_nonce_retries;

pub(super) const NONCE_RETRIES: u32 = 5;

/// The type of a problem without its prefix (RFC 8555 section 6.7).
pub(crate) fn type_of(problem: &Problem) -> &str {
    let name = problem.r#type.as_deref().unwrap_or_default();
    name.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(name)
}

fn kind_of(problem: &Problem) -> Option<FailureKind> {
    match type_of(problem) {
        "rateLimited" => Some(FailureKind::RateLimited),
        "accountDoesNotExist" => Some(FailureKind::AccountLost),
        "externalAccountRequired" | "userActionRequired" => Some(FailureKind::AccountRefused),
        "connection" | "dns" | "tls" | "incorrectResponse" | "caa" => Some(FailureKind::Validation),
        _ => match problem.status {
            Some(429) => Some(FailureKind::RateLimited),
            Some(500..) => Some(FailureKind::Unreachable),
            _ => None,
        },
    }
}

/// A problem in its own words, with those of its parts.
pub(crate) fn words(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_else(|| "the directory gives no reason".to_owned());
    for part in &problem.subproblems {
        if let Some(detail) = &part.detail {
            text.push_str("; ");
            text.push_str(detail);
        }
    }
    match type_of(problem) {
        "" => text,
        name => format!("{text} ({name})"),
    }
}

/// The most characters of a message: it comes from another server, and goes to the store, the log and the terminal.
const LONGEST_MESSAGE: usize = 500;

fn bounded(message: String) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if message.chars().count() <= LONGEST_MESSAGE {
        return message.chars().map(clean).collect();
    }
    message.chars().take(LONGEST_MESSAGE).map(clean).chain("...".chars()).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(json: serde_json::Value) -> Problem {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn failed_validations_wait_longer_and_longer_and_never_exceed_five_an_hour() {
        let waits: Vec<u64> = (1..9).map(|count| FailureKind::Validation.wait(count, None).as_secs() / 60).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 360, 360, 360]);
    }

    #[test]
    fn a_directory_that_does_not_answer_is_asked_again_sooner() {
        let waits: Vec<u64> = (1..9).map(|count| FailureKind::Unreachable.wait(count, None).as_secs() / 60).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn retry_after_decides_after_a_rate_limit() {
        let after = |kind: FailureKind, secs: u64| kind.wait(9, Some(Duration::from_secs(secs))).as_secs();
        assert_eq!(after(FailureKind::RateLimited, 3600), 3600);
        assert_eq!(after(FailureKind::RateLimited, 0), 60);
        assert_eq!(after(FailureKind::Validation, 100_000), 100_000);
        assert_eq!(after(FailureKind::Validation, 5), 6 * 3600);
    }

    #[test]
    fn problems_are_told_apart_by_type_and_by_status() {
        let kind = |json| Failure::of(&Error::Api(problem(json)), FailureKind::Order, LastResponse::default()).kind;
        assert_eq!(kind(serde_json::json!({ "type": "urn:ietf:params:acme:error:rateLimited" })), FailureKind::RateLimited);
        assert_eq!(kind(serde_json::json!({ "status": 429 })), FailureKind::RateLimited);
        assert_eq!(kind(serde_json::json!({ "status": 503 })), FailureKind::Unreachable);
        assert_eq!(kind(serde_json::json!({ "type": "urn:ietf:params:acme:error:accountDoesNotExist" })), FailureKind::AccountLost);
        assert_eq!(kind(serde_json::json!({ "type": "urn:ietf:params:acme:error:dns" })), FailureKind::Validation);
        assert_eq!(kind(serde_json::json!({ "type": "urn:ietf:params:acme:error:malformed", "status": 400 })), FailureKind::Order);
    }

    #[test]
    fn the_words_of_a_problem_hold_those_of_its_parts() {
        let text = words(&problem(serde_json::json!({
            "type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "no",
            "subproblems": [{ "detail": "not this one" }]
        })));
        assert_eq!(text, "no; not this one (rejectedIdentifier)");
    }

    proptest! {
        #[test]
        fn a_message_is_short_and_has_no_control_characters(text: String) {
            let message = Failure::new(FailureKind::Order, text).message;
            prop_assert!(message.chars().count() <= LONGEST_MESSAGE + 3 && !message.chars().any(char::is_control));
        }

        #[test]
        fn no_wait_is_shorter_than_a_minute_or_than_the_directory_says(count: u32, secs in 0..2_000_000_u64) {
            for kind in [FailureKind::Unreachable, FailureKind::RateLimited, FailureKind::Validation, FailureKind::Interrupted] {
                let wait = kind.wait(count, Some(Duration::from_secs(secs)));
                prop_assert!(wait >= MINUTE && wait >= Duration::from_secs(secs));
            }
        }
    }
}
