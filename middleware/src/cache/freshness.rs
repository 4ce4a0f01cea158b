//! Which responses may be stored, and for how long they may be used (RFC 9111 sections 3 and 4.2, RFC 5861).

use std::time::{Duration, SystemTime};

use http::header::{AGE, AsHeaderName, CONTENT_RANGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::control::{RequestControl, ResponseControl};

/// How long a stored response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freshness {
    /// When the response was received.
    received: Instant,
    /// Its age at that time.
    initial_age: Duration,
    lifetime: Duration,
    control: ResponseControl,
}

/// Whether a stored response may be the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Fresh,
    /// The client accepts it.
    Stale,
    /// The app permits it while the response is fetched anew (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// The client wants one that is newer, or has been validated.
    ClientDeclines,
    /// It has to be validated.
    No,
}

impl Freshness {
    /// Of a response that was asked for at `asked` and has just been received.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, asked: Instant, heuristic: Duration) -> Self {
        let control = ResponseControl::of(headers);
        let (received, clock) = (Instant::now(), SystemTime::now());
        Self {
            received,
            initial_age: initial_age(headers, clock, received.saturating_duration_since(asked)),
            lifetime: lifetime(status, headers, &control, clock, heuristic).unwrap_or_default(),
            control,
        }
    }

    /// RFC 9111 section 4.2.3.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.saturating_duration_since(self.received)
    }

    /// The seconds for which the response is still fresh; negative for a stale one.
    pub(super) fn ttl(&self, now: Instant) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime) - seconds(self.age(now))
    }

    /// Whether any client could have the response at this time without validation.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        !self.control.no_cache && self.lifetime > self.age(now)
    }

    /// Whether the response has to be validated each time.
    pub(super) fn is_never_fresh(&self) -> bool {
        self.control.no_cache || self.lifetime <= self.initial_age
    }

    pub(super) fn reuse(&self, request: &RequestControl, now: Instant) -> Reuse {
        let age = self.age(now);
        if self.control.no_cache {
            return Reuse::No;
        }
        if request.no_cache || request.max_age.is_some_and(|most| most.is_zero() || age > most) {
            return Reuse::ClientDeclines;
        }
        if let Some(left) = self.lifetime.checked_sub(age).filter(|left| !left.is_zero()) {
            return if request.min_fresh.is_some_and(|least| left < least) { Reuse::ClientDeclines } else { Reuse::Fresh };
        }
        let staleness = age.saturating_sub(self.lifetime);
        if !self.may_be_stale() || request.min_fresh.is_some() {
            Reuse::No
        } else if self.control.s_maxage.is_none() && request.max_stale.is_some_and(|most| staleness <= most) {
            Reuse::Stale
        } else if self.control.stale_while_revalidate.is_some_and(|most| staleness < most) {
            Reuse::StaleWhileRevalidate
        } else {
            Reuse::No
        }
    }

    /// Whether the response may be used where the app fails (RFC 5861 section 4).
    pub(super) fn covers_errors(&self, now: Instant) -> bool {
        let staleness = self.age(now).saturating_sub(self.lifetime);
        self.may_be_stale() && self.control.stale_if_error.is_some_and(|most| staleness < most)
    }

    /// `s-maxage` forbids it, too (RFC 9111 section 5.2.2.10), but an app that writes `stale-while-revalidate` beside it permits it for that time.
    fn may_be_stale(&self) -> bool {
        let ResponseControl { no_cache, must_revalidate, proxy_revalidate, .. } = self.control;
        !(no_cache || must_revalidate || proxy_revalidate)
    }
}

/// Why a response is not stored, as the end of a sentence: "the response is `private`".
pub(super) fn unstorable(status: StatusCode, headers: &HeaderMap, is_personal: bool, heuristic: Duration) -> Option<&'static str> {
    let control = ResponseControl::of(headers);
    let may_be_shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    // What is never fresh is worth storing if it can be validated, and if the app has caches in mind.
    let is_expected = control.no_cache || control.public || has_lifetime(headers, &control);
    match lifetime(status, headers, &control, SystemTime::now(), heuristic) {
        _ if status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) => {
            Some("the response has no whole content")
        }
        _ if headers.contains_key(CONTENT_RANGE) => Some("the response is a part"),
        _ if control.must_understand && !is_understood(status) => Some("it is not known what the status means (`must-understand`)"),
        _ if control.no_store && !control.must_understand => Some("the response is `no-store`"),
        _ if control.private => Some("the response is `private`"),
        _ if headers.contains_key(SET_COOKIE) => Some("the response sets a cookie"),
        _ if is_personal && !may_be_shared => {
            Some("the request is of a known user, and the response has none of `public`, `s-maxage` and `must-revalidate`")
        }
        Some(time) if !time.is_zero() && !control.no_cache => None,
        _ if has_validator && is_expected => None,
        None => Some("the response does not say how long it is fresh"),
        Some(_) => Some("the response is never fresh"),
    }
}

/// RFC 9111 section 4.2.1; `None` if the response does not say.
fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &ResponseControl,
    clock: SystemTime,
    heuristic: Duration,
) -> Option<Duration> {
    if let Some(stated) = control.s_maxage.or(control.max_age) {
        return Some(stated);
    }
    let date = date(headers, DATE).unwrap_or(clock);
    if headers.contains_key(EXPIRES) && !control.is_targeted {
        // An invalid date, such as `0`, is in the past (RFC 9111 section 5.3).
        return Some(self::date(headers, EXPIRES).and_then(|expires| expires.duration_since(date).ok()).unwrap_or_default());
    }
    if heuristic.is_zero() || !(is_heuristically_cacheable(status) || control.public) {
        return None;
    }
    // A tenth of the time since the last change (RFC 9111 section 4.2.2).
    let unchanged = date.duration_since(self::date(headers, LAST_MODIFIED)?).ok()?;
    Some((unchanged / 10).min(heuristic))
}

fn has_lifetime(headers: &HeaderMap, control: &ResponseControl) -> bool {
    control.s_maxage.is_some() || control.max_age.is_some() || (headers.contains_key(EXPIRES) && !control.is_targeted)
}

/// `corrected_initial_age` of RFC 9111 section 4.2.3.
fn initial_age(headers: &HeaderMap, clock: SystemTime, delay: Duration) -> Duration {
    let apparent = date(headers, DATE).and_then(|date| clock.duration_since(date).ok()).unwrap_or_default();
    // A `Date` has whole seconds, so it is up to one second in the past.
    let apparent = Duration::from_secs(apparent.as_secs());
    apparent.max(stated_age(headers) + delay)
}

/// The first number of `Age`; one that is invalid is ignored (RFC 9111 section 5.1).
fn stated_age(headers: &HeaderMap) -> Duration {
    let first = headers.get(AGE).map(|age| age.as_bytes().split(|octet| *octet == b',').next().unwrap_or_default().trim_ascii());
    let digits = first.filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).unwrap_or_default();
    let seconds = digits.iter().fold(0_u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(1 << 31));
    Duration::from_secs(seconds)
}

/// A date; `None` if it is invalid, or stated more than once.
pub(super) fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(line.to_str().ok()?).ok()
}

/// The statuses that this cache knows the rules of (RFC 9110 section 15).
fn is_understood(status: StatusCode) -> bool {
    is_heuristically_cacheable(status)
        || matches!(status.as_u16(), 302 | 303 | 307 | 400 | 401 | 403 | 406 | 421 | 422 | 451 | 500 | 502..=504)
}

/// RFC 9110 section 15.1.
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}
