//! Passive ejection: an endpoint that fails several times in a row gets no requests for a while. Then one request decides whether it returns.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;
use ziggurat_middleware::{Finding, Findings, Percent, units};

/// When a server that fails gets no requests for a while. After that time one request decides whether it returns.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EjectOptions {
    /// The number of failures in a row. Failures are: a connection that cannot be opened or that breaks, a response that is malformed or late, and the statuses 502, 503 and 504.
    #[schemars(range(min = 1))]
    after: u32,
    /// How long. If the deciding request fails, the next time is twice as long, up to ten times the first.
    #[serde(rename = "for")]
    time: units::Duration,
    /// The largest share of the servers that may be ejected at the same time. With one server, none is.
    at_most: Percent,
}

impl Default for EjectOptions {
    fn default() -> Self {
        Self { after: 5, time: units::Duration::secs(10), at_most: Percent(50) }
    }
}

impl EjectOptions {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        if self.after == 0 {
            findings.push(Finding::new("`after` must be 1 or more").at("eject").at("after").hint("usual are 5"));
        }
        if self.time.0.is_zero() {
            findings
                .push(Finding::new("`for` must be longer than 0").at("eject").at("for").hint("usual are some seconds, as in `\"10s\"`"));
        }
    }

    /// Whether one more of `n` endpoints may be ejected if `ejected` already are.
    pub(crate) fn allows(&self, ejected: usize, n: usize) -> bool {
        (ejected as u64) < self.at_most.of(n as u64)
    }
}

/// The longest ejection, in units of the first one.
const LONGEST: u32 = 10;

/// The circuit breaker of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    /// Failures in a row.
    failures: u32,
    /// Ejections in a row, without a success between them.
    ejections: u32,
    /// The end of the ejection. After it one request is let through.
    until: Option<Instant>,
    /// Whether the deciding request is under way.
    is_probed: bool,
    /// Grows when the endpoint is ejected and when it is probed. Results of older epochs are ignored.
    epoch: u64,
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Closed: it takes requests.
    In,
    /// Half open: it takes one request, which decides.
    Probe,
    /// Open: it takes none until then at least.
    Out(Instant),
}

/// The epoch in which an attempt began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    number: u64,
    is_probe: bool,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerChange {
    Nothing,
    Ejected(Duration),
    Returned,
}

impl Breaker {
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        let record = self.lock();
        match record.until {
            None => BreakerState::In,
            Some(until) if now < until || record.is_probed => BreakerState::Out(until),
            Some(_) => BreakerState::Probe,
        }
    }

    /// Begins an attempt. `None` if the endpoint takes none.
    pub(crate) fn enter(&self, now: Instant) -> Option<Epoch> {
        let mut record = self.lock();
        match record.until {
            None => Some(Epoch { number: record.epoch, is_probe: false }),
            Some(until) if now < until || record.is_probed => None,
            Some(_) => {
                record.is_probed = true;
                record.epoch += 1;
                Some(Epoch { number: record.epoch, is_probe: true })
            }
        }
    }

    /// The attempt succeeded.
    pub(crate) fn succeed(&self, epoch: Epoch) -> BreakerChange {
        let mut record = self.lock();
        if epoch.number != record.epoch {
            return BreakerChange::Nothing;
        }
        record.failures = 0;
        if !epoch.is_probe {
            return BreakerChange::Nothing;
        }
        *record = Record { epoch: record.epoch, ..Record::default() };
        BreakerChange::Returned
    }

    /// The attempt failed. `may_eject` tells whether `at_most` allows one more ejection.
    pub(crate) fn fail(&self, epoch: Epoch, now: Instant, options: &EjectOptions, may_eject: impl FnOnce() -> bool) -> BreakerChange {
        let mut record = self.lock();
        if epoch.number != record.epoch {
            return BreakerChange::Nothing;
        }
        record.failures = record.failures.saturating_add(1);
        if !epoch.is_probe && (record.failures < options.after || !may_eject()) {
            return BreakerChange::Nothing;
        }
        let factor = 1_u32.checked_shl(record.ejections).unwrap_or(LONGEST).min(LONGEST);
        let time = options.time.0.saturating_mul(factor);
        record.ejections += 1;
        record.is_probed = false;
        record.epoch += 1;
        record.until = now.checked_add(time);
        BreakerChange::Ejected(time)
    }

    /// The attempt ended without a result.
    pub(crate) fn forget(&self, epoch: Epoch) {
        let mut record = self.lock();
        if epoch.is_probe && epoch.number == record.epoch {
            record.is_probed = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn options(after: u32) -> EjectOptions {
        EjectOptions { after, ..EjectOptions::default() }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let fail = || breaker.fail(breaker.enter(now).unwrap(), now, &options(3), || true);
        assert_eq!((fail(), fail()), (BreakerChange::Nothing, BreakerChange::Nothing));
        breaker.succeed(breaker.enter(now).unwrap());
        assert_eq!((fail(), fail()), (BreakerChange::Nothing, BreakerChange::Nothing));
        assert_eq!(fail(), BreakerChange::Ejected(10 * SECOND));
        assert_eq!(breaker.state(now), BreakerState::Out(now + 10 * SECOND));
    }

    #[test]
    fn one_request_decides_and_each_failure_doubles_the_time() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.fail(breaker.enter(now).unwrap(), now, &options(1), || true), BreakerChange::Ejected(10 * SECOND));
        for seconds in [20, 40, 80, 100, 100] {
            now += 200 * SECOND;
            let probe = breaker.enter(now).unwrap();
            assert!(breaker.enter(now).is_none());
            assert_eq!(breaker.fail(probe, now, &options(1), || false), BreakerChange::Ejected(seconds * SECOND));
        }
        now += 200 * SECOND;
        assert_eq!(breaker.succeed(breaker.enter(now).unwrap()), BreakerChange::Returned);
        assert_eq!(breaker.state(now), BreakerState::In);
    }

    #[test]
    fn the_answer_of_an_older_request_does_not_bring_an_endpoint_back() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let slow = breaker.enter(now).unwrap();
        breaker.fail(breaker.enter(now).unwrap(), now, &options(1), || true);
        assert_eq!(breaker.succeed(slow), BreakerChange::Nothing);
        let later = now + 11 * SECOND;
        let probe = breaker.enter(later).unwrap();
        assert_eq!(breaker.succeed(slow), BreakerChange::Nothing);
        assert!(matches!(breaker.state(later), BreakerState::Out(_)));
        breaker.forget(probe);
        assert_eq!(breaker.state(later), BreakerState::Probe);
    }

    #[test]
    fn the_share_is_counted_with_the_one_to_be_ejected() {
        let options = options(1);
        assert!(!options.allows(0, 1));
        assert!(options.allows(0, 2) && !options.allows(1, 2));
        assert!(options.allows(0, 3) && !options.allows(1, 3));
    }
}
