//! The manager against an authority in memory, on paused time.

mod authority;
mod faults;
mod renewals;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::authority::{Authority, DIRECTORY, Validate};
use super::challenges::Challenge;
use super::manager::{Figures, Manager};
use super::report::NameReport;
use super::settings::{AcmeSettings, NameSettings};
use super::store::{Read, Store};
use super::time::{Clock, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority and a store, and the time that passes for both.
struct World {
    authority: Authority,
    folder: tempfile::TempDir,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let begin = Instant::now();
        let now = move || Timestamp(1_800_000_000).plus(begin.elapsed());
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(now, answers_of(&Store::new(folder.path())));
        Self { authority, folder, clock: Clock::of(now) }
    }

    fn store(&self) -> Store {
        Store::new(self.folder.path())
    }

    fn settings(&self, names: &[&str]) -> AcmeSettings {
        let names = names.iter().map(|name| NameSettings { name: (*name).to_owned(), challenges: Challenge::ALL.to_vec() }).collect();
        AcmeSettings { store: self.store(), directory: DIRECTORY.to_owned(), ca: None, email: None, eab: None, names }
    }

    /// A process.
    fn start(&self, names: &[&str]) -> Manager {
        self.start_with(self.settings(names))
    }

    fn start_with(&self, settings: AcmeSettings) -> Manager {
        let manager = self.prepare(settings);
        manager.begin();
        manager
    }

    /// A process that does not serve yet.
    fn prepare(&self, settings: AcmeSettings) -> Manager {
        Manager::start_at(settings, self.authority.client(), Figures::default(), self.clock.clone(), "machine".to_owned())
    }

    fn serial(&self, name: &str) -> Option<String> {
        let Read::Whole(record) = self.store().directory(DIRECTORY).certificate(name).unwrap() else { return None };
        Some(super::certificate::Certificate::parse(name, &record.chain, &record.key).unwrap().serial)
    }
}

/// Looks challenges up where any process with this store does.
fn answers_of(store: &Store) -> Validate {
    let store = store.clone();
    Arc::new(move |kind, name, token| {
        let (challenge, key) = if kind == "http-01" { (Challenge::Http01, token) } else { (Challenge::TlsAlpn01, name) };
        store.challenge(challenge, key).map(|record| record.answer)
    })
}

/// Lets time pass until this holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
    panic!("never: {what}");
}

/// Ends the process at once, as SIGKILL does.
fn kill(manager: &Manager) {
    manager.abort();
}

fn report(manager: &Manager, name: &str) -> NameReport {
    manager.reports().iter().find(|report| report.name == name).unwrap().clone()
}

async fn issued(manager: &Manager, name: &str) {
    until("a certificate", || manager.certificate(name).is_some()).await;
}

async fn failed(manager: &Manager, name: &str) -> NameReport {
    until("a failure", || report(manager, name).error.is_some()).await;
    report(manager, name)
}
