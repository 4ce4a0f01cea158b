//! Reading the store: what is known about each name, and what is served.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, Weak};

use super::Shared;
use crate::acme::certificate::Certificate;
use crate::acme::plan::{Known, Plan, Stored};
use crate::acme::renewal::Seed;
use crate::acme::report::NameReport;
use crate::acme::settings::{AcmeSettings, NameSettings};
use crate::acme::store::{DirectoryFolder, Read};
use crate::acme::time::Timestamp;

/// A name, and what is known and planned.
pub(super) struct NameState {
    pub(super) settings: NameSettings,
    pub(super) known: Known,
    pub(super) plan: Plan,
}

impl NameState {
    /// When anything is to be done.
    pub(super) fn next_at(&self) -> Timestamp {
        self.plan.ask_at.map_or(self.plan.order_at, |ask_at| ask_at.min(self.plan.order_at))
    }
}

impl Shared {
    /// Reads all names, and serves what there is. A certificate that was served goes on being served while its entry is damaged, missing or unreadable.
    pub(super) fn read(&self) -> Vec<NameState> {
        let now = self.clock.now();
        let served = self.certificates.load_full();
        let mut certificates = HashMap::new();
        let (mut states, mut reports) = (Vec::new(), Vec::new());
        let mut is_changed = false;
        for settings in &self.settings.names {
            let name = &settings.name;
            let before = served.get(name);
            match read_name(&self.settings, name, before) {
                Ok(known) => {
                    let plan = known.plan(Seed::new(name, &self.machine), now);
                    reports.push(NameReport::new(name, &self.settings.directory, &known, plan, now));
                    if let Some(stored) = known.certificate.as_ref().or(before) {
                        if before.is_none_or(|before| before.certificate.serial != stored.certificate.serial) {
                            log_loaded(name, stored, now);
                            is_changed = true;
                        }
                        certificates.insert(name.clone(), stored.clone());
                    }
                    states.push(NameState { settings: settings.clone(), known, plan });
                }
                Err(error) => {
                    if let Some(before) = before {
                        certificates.insert(name.clone(), before.clone());
                    }
                    reports.push(NameReport::unreadable(name, &self.settings.directory, &error));
                }
            }
        }
        self.certificates.store(Arc::new(certificates));
        self.reports.store(Arc::new(reports));
        if is_changed {
            let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sinks.iter().filter_map(Weak::upgrade).for_each(|sink| sink.changed());
        }
        states
    }

    /// Reads one name again.
    pub(super) fn read_one(&self, settings: &NameSettings) -> io::Result<NameState> {
        let known = read_name(&self.settings, &settings.name, self.certificates.load().get(&settings.name))?;
        let plan = known.plan(Seed::new(&settings.name, &self.machine), self.clock.now());
        Ok(NameState { settings: settings.clone(), known, plan })
    }
}

/// What the store says about the names, without a server.
pub(super) fn reports(settings: &AcmeSettings, machine: &str, now: Timestamp) -> Vec<NameReport> {
    let report = |name: &NameSettings| match read_name(settings, &name.name, None) {
        Ok(known) => NameReport::new(&name.name, &settings.directory, &known, known.plan(Seed::new(&name.name, machine), now), now),
        Err(error) => NameReport::unreadable(&name.name, &settings.directory, &error),
    };
    settings.names.iter().map(report).collect()
}

fn read_name(settings: &AcmeSettings, name: &str, before: Option<&Stored>) -> io::Result<Known> {
    let folder = settings.store.directory(&settings.directory);
    let mut known = Known {
        attempt: folder.attempt(Some(name))?.whole(),
        pause: folder.attempt(None)?.whole(),
        renewal: folder.renewal(name)?.whole(),
        ..Known::default()
    };
    match read_certificate(&folder, name, before)? {
        Ok(certificate) => known.certificate = certificate,
        Err(damage) => known.damage = Some(damage),
    }
    Ok(known)
}

/// The inner error is why the entry cannot be used.
fn read_certificate(folder: &DirectoryFolder, name: &str, before: Option<&Stored>) -> io::Result<Result<Option<Stored>, String>> {
    Ok(match folder.certificate(name)? {
        Read::Missing => Ok(None),
        Read::Damaged(reason) => Err(reason),
        Read::Whole(record) => match before {
            // Nothing new, so nothing is parsed.
            Some(stored) if stored.is_of(&record) => Ok(Some(stored.clone())),
            _ => Certificate::parse(name, &record.chain, &record.key).map(|certificate| Some(Stored::new(certificate, &record))),
        },
    })
}

fn log_loaded(name: &str, stored: &Stored, now: Timestamp) {
    let certificate = &stored.certificate;
    let days = now.until(certificate.lifetime.not_after).as_secs() / (24 * 3600);
    tracing::info!(name, serial = certificate.serial, issuer = certificate.issuer, days, "loaded a certificate");
}
