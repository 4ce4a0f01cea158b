//! Active health checks: their options, and their results for one endpoint.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Finding, Findings, units};

/// Requests that check whether a server is healthy. A server gets requests until its checks fail, so nothing waits for the first check.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthOptions {
    /// The path and query to request, as in `/healthz`. The method is GET. Redirects are not followed.
    pub(super) path: String,
    /// The time between two checks.
    #[serde(default = "every")]
    pub(super) every: units::Duration,
    /// The longest time for one check, from opening its connection to the end of the response.
    #[serde(default = "timeout")]
    pub(super) timeout: units::Duration,
    /// The statuses of a healthy server: a number such as `204`, a class such as `"2xx"`, or a list of these. By default any 2xx.
    #[serde(default)]
    expect: Expect,
    /// The number of good checks in a row after which a server gets requests again.
    #[serde(default = "rise")]
    #[schemars(range(min = 1))]
    rise: u32,
    /// The number of bad checks in a row after which it gets none.
    #[serde(default = "fall")]
    #[schemars(range(min = 1))]
    fall: u32,
}

const fn every() -> units::Duration {
    units::Duration::secs(5)
}

const fn timeout() -> units::Duration {
    units::Duration::secs(2)
}

const fn rise() -> u32 {
    2
}

const fn fall() -> u32 {
    3
}

impl HealthOptions {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let mut find = |field: &str, message: String, hint: &str| findings.push(Finding::new(message).at("health").at(field).hint(hint));
        if !self.path.starts_with('/') {
            find("path", format!("`{}` does not begin with a slash", self.path.escape_debug()), &format!("write `/{}`", self.path));
        } else if self.path.parse::<http::uri::PathAndQuery>().is_err() {
            find("path", format!("`{}` is not a path", self.path.escape_debug()), "percent-encode what is not ASCII");
        }
        if self.every.0.is_zero() {
            find("every", "checks need a pause between them".to_owned(), "usual are some seconds, as in `\"5s\"`");
        }
        if self.timeout.0.is_zero() {
            find("timeout", "`timeout` must be longer than 0".to_owned(), "usual are some seconds, as in `\"2s\"`");
        }
        for (field, count) in [("rise", self.rise), ("fall", self.fall)] {
            if count == 0 {
                find(field, format!("`{field}` must be 1 or more"), "usual are 2 or 3");
            }
        }
    }

    pub(super) fn is_expected(&self, status: StatusCode) -> bool {
        if self.expect.0.0.is_empty() { status.is_success() } else { self.expect.0.0.iter().any(|pattern| pattern.holds(status)) }
    }
}

/// Statuses. An empty list is any 2xx.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Expect(OneOrMany<StatusPattern>);

/// A status or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusPattern {
    Exact(u16),
    Class(u16),
}

impl StatusPattern {
    fn holds(self, status: StatusCode) -> bool {
        match self {
            Self::Exact(exact) => status.as_u16() == exact,
            Self::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

impl FromStr for StatusPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match text.as_bytes() {
            [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(Self::Class(u16::from(class - b'0'))),
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(Self::Exact),
            _ => None,
        };
        found.ok_or_else(|| format!("`{text}` is not a status\nhint: write a number such as `204`, or a class such as `\"2xx\"`"))
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = StatusPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 204 or \"2xx\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusPattern, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<StatusPattern, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for StatusPattern {
    fn schema_name() -> Cow<'static, str> {
        "StatusPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 599 },
            { "type": "string", "pattern": r"^([2-5](xx|XX|[0-9]{2})|.*\$.*)$" }
        ] })
    }
}

/// The results of one endpoint's checks.
#[derive(Debug)]
pub(crate) struct Health {
    is_up: AtomicBool,
    /// The path of the check, and how many results in a row contradicted `is_up`.
    streak: Mutex<(Box<str>, u32)>,
}

impl Default for Health {
    fn default() -> Self {
        Self { is_up: AtomicBool::new(true), streak: Mutex::default() }
    }
}

impl Health {
    /// Whether the endpoint gets requests. Before the first check it does.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    /// Resets the results if the check is another one than before, or none.
    pub(super) fn begin(&self, check: &str) {
        let mut streak = self.streak.lock().unwrap_or_else(PoisonError::into_inner);
        if *streak.0 != *check {
            *streak = (check.into(), 0);
            self.is_up.store(true, Relaxed);
        }
    }

    /// Counts a result, and tells whether `is_up` changed.
    pub(super) fn count(&self, is_good: bool, options: &HealthOptions) -> bool {
        let mut streak = self.streak.lock().unwrap_or_else(PoisonError::into_inner);
        let is_up = self.is_up();
        if is_good == is_up {
            streak.1 = 0;
            return false;
        }
        streak.1 += 1;
        let is_changed = streak.1 >= if is_up { options.fall } else { options.rise };
        if is_changed {
            streak.1 = 0;
            self.is_up.store(is_good, Relaxed);
        }
        is_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> HealthOptions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_endpoint_goes_down_after_fall_and_up_after_rise() {
        let (health, options) = (Health::default(), options(r#"{ "path": "/", "rise": 2, "fall": 3 }"#));
        let count = |is_good: bool| (health.count(is_good, &options), health.is_up());
        assert_eq!([count(false), count(false), count(true), count(false), count(false)], [(false, true); 5]);
        assert_eq!(count(false), (true, false));
        assert_eq!([count(true), count(false), count(true)], [(false, false); 3]);
        assert_eq!(count(true), (true, true));
    }

    #[test]
    fn another_check_starts_from_the_beginning() {
        let (health, options) = (Health::default(), options(r#"{ "path": "/", "fall": 1 }"#));
        health.begin("/a");
        assert!(health.count(false, &options));
        health.begin("/a");
        assert!(!health.is_up());
        health.begin("/b");
        assert!(health.is_up());
    }

    #[test]
    fn statuses_are_numbers_or_classes() {
        let expects = |expect: &str, status: u16| {
            options(&format!(r#"{{ "path": "/", "expect": {expect} }}"#)).is_expected(StatusCode::from_u16(status).unwrap())
        };
        assert!(expects("204", 204) && !expects("204", 200));
        assert!(expects(r#""2xx""#, 299) && !expects(r#""2xx""#, 301));
        assert!(expects(r#"["2xx", 404]"#, 404) && !expects(r#"["2xx", 404]"#, 403));
        assert!(serde_json::from_str::<HealthOptions>(r#"{ "path": "/", "expect": "1xx" }"#).is_err());
    }
}
