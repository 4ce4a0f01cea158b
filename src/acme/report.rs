//! What is known about a name, for `ziggurat certs`, the status, the metrics and the log.

use serde::Serialize;

use super::plan::{Known, Plan};
use super::time::Timestamp;

/// A name and its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NameReport {
    pub(crate) name: String,
    pub(crate) directory: String,
    /// The end of the certificate; `None` without one.
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) issuer: Option<String>,
    pub(crate) serial: Option<String>,
    /// When it is due for renewal.
    pub(crate) renew_at: Option<Timestamp>,
    /// The attempts that have failed in a row.
    pub(crate) failures: u32,
    pub(crate) last_attempt_at: Option<Timestamp>,
    /// Why there is no certificate, or no new one.
    pub(crate) error: Option<String>,
    pub(crate) next_attempt_at: Option<Timestamp>,
}

impl NameReport {
    pub(super) fn new(name: &str, directory: &str, known: &Known, plan: Plan, now: Timestamp) -> Self {
        let certificate = known.certificate.as_ref().map(|stored| &stored.certificate);
        // A pause of the directory counts only where it holds something up.
        let is_due = plan.renew_at.is_none_or(|at| at <= now);
        let attempt = known.failing(now).or_else(|| known.pause(now).filter(|_| is_due));
        let damage = known.damage.as_ref().map(|reason| format!("the certificate in the store cannot be used: {reason}"));
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            not_after: certificate.map(|certificate| certificate.lifetime.not_after),
            issuer: certificate.map(|certificate| certificate.issuer.clone()),
            serial: certificate.map(|certificate| certificate.serial.clone()),
            renew_at: plan.renew_at,
            failures: attempt.map_or(0, |attempt| attempt.count),
            last_attempt_at: attempt.map(|attempt| attempt.started_at),
            error: attempt.map(|attempt| attempt.message.clone()).or(damage),
            next_attempt_at: (attempt.is_some() || is_due).then_some(plan.order_at),
        }
    }

    /// A name whose entries cannot be read.
    pub(super) fn unreadable(name: &str, directory: &str, error: &std::io::Error) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            not_after: None,
            issuer: None,
            serial: None,
            renew_at: None,
            failures: 0,
            last_attempt_at: None,
            error: Some(format!("cannot read the store: {error}")),
            next_attempt_at: None,
        }
    }
}
