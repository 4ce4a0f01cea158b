//! What to do about a name, and when: a pure function of what the store knows.

use std::time::Duration;

use twox_hash::XxHash3_64;

use super::certificate::Certificate;
use super::renewal::{Seed, renew_at};
use super::store::{AttemptRecord, CertificateRecord, RenewalRecord};
use super::time::Timestamp;

/// What the store knows about a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) certificate: Option<Stored>,
    /// Why a certificate that is there cannot be used.
    pub(super) damage: Option<String>,
    /// The last attempt for the name.
    pub(super) attempt: Option<AttemptRecord>,
    /// What makes all names of the directory wait.
    pub(super) pause: Option<AttemptRecord>,
    pub(super) renewal: Option<RenewalRecord>,
}

/// A certificate of the store, and what its record says.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) certificate: Certificate,
    /// The URL of the account that ordered it.
    pub(super) account: String,
    pub(super) issued_at: Timestamp,
    /// To tell whether an entry is still the same.
    record: u64,
}

impl Stored {
    pub(super) fn new(certificate: Certificate, record: &CertificateRecord) -> Self {
        Self { certificate, account: record.account.clone(), issued_at: record.issued_at, record: fingerprint(record) }
    }

    /// Whether it was read from this record.
    pub(super) fn is_of(&self, record: &CertificateRecord) -> bool {
        self.record == fingerprint(record)
    }
}

fn fingerprint(record: &CertificateRecord) -> u64 {
    let CertificateRecord { name, account, issued_at, chain, key } = record;
    XxHash3_64::oneshot(format!("{name}\n{account}\n{}\n{chain}\n{key}", issued_at.0).as_bytes())
}

/// What to do, and not before when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Order a certificate.
    pub(super) order_at: Timestamp,
    /// When the certificate should be replaced, whatever stands against it.
    pub(super) renew_at: Option<Timestamp>,
    /// Ask for the authority's window.
    pub(super) ask_at: Option<Timestamp>,
}

/// A certificate is not replaced before this age, or before a quarter of a short life.
const SOONEST_RENEWAL: Duration = Duration::from_secs(3600);

/// A record from further ahead was written by a clock that was wrong.
const WRONG_CLOCK: Duration = Duration::from_secs(24 * 3600);

impl Known {
    /// The attempt that counts: not one from before the certificate, which ended well and was not removed, and not one from the future.
    pub(super) fn failing(&self, now: Timestamp) -> Option<&AttemptRecord> {
        let issued_at = self.certificate.as_ref().map(|stored| stored.issued_at);
        self.attempt.as_ref().filter(|attempt| is_of_now(attempt, now) && issued_at.is_none_or(|issued_at| attempt.started_at > issued_at))
    }

    pub(super) fn pause(&self, now: Timestamp) -> Option<&AttemptRecord> {
        self.pause.as_ref().filter(|pause| is_of_now(pause, now) && pause.next_at > now)
    }

    pub(super) fn plan(&self, seed: Seed, now: Timestamp) -> Plan {
        let pause = self.pause(now).map(|pause| pause.next_at).unwrap_or_default();
        let attempt = self.failing(now).map(|attempt| attempt.next_at).unwrap_or_default();
        let Some(stored) = &self.certificate else {
            return Plan { order_at: attempt.max(pause), renew_at: None, ask_at: None };
        };
        let renewal = self.renewal.as_ref().filter(|renewal| renewal.serial == stored.certificate.serial);
        let due = renew_at(stored.certificate.lifetime, renewal.and_then(|renewal| renewal.window), seed);
        let ask_at = renewal.map(|renewal| renewal.ask_again_at).unwrap_or_default();
        // A window in the past asks for a renewal at once, but not for one after the other.
        let lifetime = stored.certificate.lifetime;
        let soonest = stored.issued_at.plus(SOONEST_RENEWAL.min(lifetime.not_before.until(lifetime.not_after) / 4));
        Plan { order_at: due.max(soonest).max(attempt).max(pause), renew_at: Some(due), ask_at: Some(ask_at.max(pause)) }
    }
}

fn is_of_now(record: &AttemptRecord, now: Timestamp) -> bool {
    record.started_at <= now.plus(WRONG_CLOCK)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::super::failure::FailureKind;
    use super::super::renewal::Window;
    use super::*;

    const DAY: u64 = 24 * 3600;

    /// From day 20,000 to day 20,090.
    fn stored() -> Stored {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2024, 10, 4);
        params.not_after = date_time_ymd(2025, 1, 2);
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate::parse("a.test", &params.self_signed(&key).unwrap().pem(), &key.serialize_pem()).unwrap();
        assert_eq!(certificate.lifetime.not_before, Timestamp(20_000 * DAY));
        assert_eq!(certificate.lifetime.not_after, Timestamp(20_090 * DAY));
        Stored { certificate, account: "x".to_owned(), issued_at: Timestamp(20_000 * DAY), record: 0 }
    }

    fn attempt(started_at: u64, next_at: u64) -> AttemptRecord {
        AttemptRecord {
            count: 1,
            started_at: Timestamp(started_at),
            next_at: Timestamp(next_at),
            kind: FailureKind::Validation,
            message: "no".to_owned(),
        }
    }

    fn plan(known: &Known, now: u64) -> Plan {
        known.plan(Seed::new("a.test", "m"), Timestamp(now))
    }

    #[test]
    fn a_name_without_a_certificate_is_ordered_at_once() {
        assert_eq!(plan(&Known::default(), 1_000).order_at, Timestamp(0));
    }

    #[test]
    fn a_sound_certificate_is_left_alone_for_two_thirds_of_its_life() {
        let known = Known { certificate: Some(stored()), ..Known::default() };
        let order_at = plan(&known, 20_001 * DAY).order_at;
        assert!(order_at > Timestamp(20_055 * DAY) && order_at <= Timestamp(20_060 * DAY), "{order_at:?}");
    }

    #[test]
    fn nothing_is_ordered_before_the_next_attempt_nor_during_a_pause() {
        let known = Known { attempt: Some(attempt(900, 2_000)), ..Known::default() };
        assert_eq!(plan(&known, 1_000).order_at, Timestamp(2_000));
        let known = Known { pause: Some(attempt(900, 3_000)), ..known };
        assert_eq!(plan(&known, 1_000).order_at, Timestamp(3_000));
        let due = Known { certificate: Some(stored()), ..known };
        assert!(plan(&due, 1_000).ask_at >= Some(Timestamp(3_000)));
    }

    #[test]
    fn an_attempt_that_ended_well_but_was_not_removed_does_not_count() {
        let known = Known { certificate: Some(stored()), attempt: Some(attempt(20_000 * DAY - 5, 90_000 * DAY)), ..Known::default() };
        assert!(plan(&known, 20_001 * DAY).order_at < Timestamp(20_061 * DAY));
        assert_eq!(known.failing(Timestamp(20_001 * DAY)), None);
    }

    #[test]
    fn a_record_of_a_wrong_clock_does_not_count() {
        let known = Known { attempt: Some(attempt(90_000 * DAY, 90_001 * DAY)), ..Known::default() };
        assert_eq!(plan(&known, 20_000 * DAY).order_at, Timestamp(0));
    }

    #[test]
    fn the_window_of_the_authority_counts_for_its_certificate_alone() {
        let window = Some(Window { start: Timestamp(20_010 * DAY), end: Timestamp(20_011 * DAY) });
        let renewal = |serial: &str| Some(RenewalRecord { serial: serial.to_owned(), window, ask_again_at: Timestamp(20_002 * DAY) });
        let stored = stored();
        let serial = stored.certificate.serial.clone();
        let known = Known { certificate: Some(stored), renewal: renewal(&serial), ..Known::default() };
        let planned = plan(&known, 20_001 * DAY);
        assert!(planned.order_at >= Timestamp(20_010 * DAY) && planned.order_at <= Timestamp(20_011 * DAY));
        assert_eq!(planned.ask_at, Some(Timestamp(20_002 * DAY)));
        let other = Known { renewal: renewal("00"), ..known };
        assert!(plan(&other, 20_001 * DAY).order_at > Timestamp(20_050 * DAY));
        assert_eq!(plan(&other, 20_001 * DAY).ask_at, Some(Timestamp(0)));
    }
}
