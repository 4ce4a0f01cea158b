//! Work under the lock: damaged entries set aside, windows asked for, certificates ordered.

use std::time::Duration;

use instant_acme::{Account, Error};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::names::NameState;
use crate::acme::account::{Accounts, on_disk};
use crate::acme::certificate::Certificate;
use crate::acme::client::DirectoryClient;
use crate::acme::failure::{Failure, FailureKind};
use crate::acme::held_lock::HeldLock;
use crate::acme::order::{Issued, Order};
use crate::acme::plan::Stored;
use crate::acme::renewal::Window;
use crate::acme::settings::NameSettings;
use crate::acme::store::{AttemptRecord, CertificateRecord, DirectoryFolder, RenewalRecord};
use crate::acme::time::Timestamp;

/// What one turn under the lock shares between names.
struct Turn<'a> {
    shared: &'a Shared,
    folder: DirectoryFolder,
    http: DirectoryClient,
    /// Once it was opened.
    account: Option<Account>,
}

/// How often the authority is asked for its window, whatever it says itself.
const SOONEST_QUESTION: Duration = Duration::from_secs(60);
const LATEST_QUESTION: Duration = Duration::from_secs(24 * 3600);
const QUESTION_AFTER_FAILURE: Duration = Duration::from_secs(3600);

impl Shared {
    /// Does what is due, name after name, until all is done, the lock is lost or the server stops. Returns whether anything was due.
    pub(super) async fn work(&self, lock: &HeldLock, stop: &CancellationToken) -> bool {
        let folder = self.settings.store.directory(&self.settings.directory);
        let mut turn = Turn { shared: self, folder, http: DirectoryClient::new(self.client.clone()), account: None };
        let mut worked = false;
        let store = self.settings.store.clone();
        let _ = on_disk(move || store.create().map(|_| store.remove_old_challenges())).await;
        for name in &self.settings.names {
            if stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = lock.lost.cancelled() => {
                    tracing::error!("another process has taken over the lock of the store: the order that was under way is given up");
                    break;
                }
                done = turn.attend(name) => match done {
                    Ok(was_due) => worked |= was_due,
                    // Without the store, nothing can go on.
                    Err(failure) => {
                        self.log_store(&failure);
                        return false;
                    }
                },
            }
        }
        worked
    }
}

impl Turn<'_> {
    /// Does what is due for a name. An error is one of the store.
    async fn attend(&mut self, settings: &NameSettings) -> Result<bool, Failure> {
        let now = self.shared.clock.now();
        // Another process may have done it while this one waited for the lock.
        let state =
            self.shared.read_one(settings).map_err(|error| Failure::new(FailureKind::Store, format!("cannot read the store: {error}")))?;
        if let Some(damage) = &state.known.damage {
            let (folder, name) = (self.folder.clone(), settings.name.clone());
            let aside = on_disk(move || folder.set_certificate_aside(&name)).await?;
            tracing::error!(
                name = settings.name,
                "the certificate in the store cannot be used and was set aside as `{}`: {damage}",
                aside.display()
            );
        }
        if state.plan.order_at <= now {
            self.attempt(&state).await?;
            return Ok(true);
        }
        if let Some(stored) = state.known.certificate.as_ref().filter(|_| state.plan.ask_at.is_some_and(|at| at <= now)) {
            self.ask(&settings.name, stored).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Tries to get a certificate. The attempt is in the store before it begins.
    async fn attempt(&mut self, state: &NameState) -> Result<(), Failure> {
        let name = state.settings.name.as_str();
        let now = self.shared.clock.now();
        let count = state.known.failing(now).map_or(0, |attempt| attempt.count).saturating_add(1);
        let unknown = Failure::new(FailureKind::Interrupted, "the process ended during the attempt");
        self.put_attempt(Some(name), record(&unknown, count, now, now)).await?;
        let failure = match self.obtain(state, count).await {
            Ok((issued, account)) => match self.keep(name, issued, account).await {
                Ok(()) => {
                    self.shared.figures.issued.add(1);
                    return Ok(());
                }
                Err(failure) if failure.kind == FailureKind::Store => return Err(failure),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.shared.figures.failed.add(1);
        let ended = self.shared.clock.now();
        if failure.kind.is_of_directory() || self.account.is_none() {
            // All names wait. This one has not been tried.
            let count = state.known.pause.as_ref().map_or(0, |pause| pause.count).saturating_add(1);
            let pause = record(&failure, count, now, ended);
            let kept = match self.put_attempt(None, pause.clone()).await {
                Ok(()) => match state.known.failing(now).cloned() {
                    Some(before) => self.put_attempt(Some(name), before).await,
                    None => self.remove_attempt(Some(name)).await,
                },
                failed => failed,
            };
            self.log(name, &failure, &pause);
            kept
        } else {
            let attempt = record(&failure, count, now, ended);
            let kept = self.put_attempt(Some(name), attempt.clone()).await;
            self.log(name, &failure, &attempt);
            kept
        }
    }

    /// Opens the account and orders. An account that the directory has forgotten is replaced, once.
    async fn obtain(&mut self, state: &NameState, count: u32) -> Result<(Issued, String), Failure> {
        let (shared, now) = (self.shared, self.shared.clock.now());
        let folder = self.folder.clone();
        let http = self.http.clone();
        let accounts = Accounts {
            directory: &shared.settings.directory,
            email: shared.settings.email.as_deref(),
            eab: shared.settings.eab.as_ref(),
            folder: &folder,
            http: &http,
        };
        let account = match self.account.clone() {
            Some(account) => account,
            None => match accounts.open(now).await {
                Err(failure) if failure.kind == FailureKind::AccountLost => accounts.replace(now).await?,
                opened => opened?,
            },
        };
        self.account = Some(account.clone());
        match self.order(state, count, &account).await {
            Err(failure) if failure.kind == FailureKind::AccountLost => {
                self.account = None;
                let account = accounts.replace(now).await?;
                self.account = Some(account.clone());
                self.order(state, count, &account).await.map(|issued| (issued, account.id().to_owned()))
            }
            outcome => outcome.map(|issued| (issued, account.id().to_owned())),
        }
    }

    async fn order(&self, state: &NameState, count: u32, account: &Account) -> Result<Issued, Failure> {
        let NameSettings { name, challenges } = &state.settings;
        let known = state.known.certificate.as_ref();
        // Attempt after attempt, another challenge.
        let turn = count.saturating_sub(1) as usize % challenges.len().max(1);
        let Some(challenge) = challenges.get(turn).copied() else {
            return Err(Failure::new(FailureKind::Order, "no challenge can be met at the addresses of `listen`"));
        };
        let replaces = known.filter(|stored| stored.account == account.id()).and_then(|stored| stored.certificate.id.clone());
        Order { name, challenge, replaces, store: &self.shared.settings.store, http: &self.http }.obtain(account).await
    }

    /// Checks what was issued and keeps it.
    async fn keep(&self, name: &str, issued: Issued, account: String) -> Result<(), Failure> {
        let now = self.shared.clock.now();
        let parsed = Certificate::parse(name, &issued.chain, &issued.key);
        let certificate = parsed.map_err(|reason| Failure::new(FailureKind::Order, format!("what was issued cannot be used: {reason}")))?;
        if certificate.lifetime.not_after <= now {
            return Err(Failure::new(FailureKind::Order, "what was issued has expired already: is the clock of this machine right?"));
        }
        let record = CertificateRecord { name: name.to_owned(), account, issued_at: now, chain: issued.chain, key: issued.key };
        let (folder, owned) = (self.folder.clone(), name.to_owned());
        on_disk(move || folder.put_certificate(&owned, &record)).await?;
        self.remove_attempt(Some(name)).await?;
        self.remove_attempt(None).await
    }

    /// Asks when the authority wants a certificate to be renewed. If it has no answer, its lifetime decides.
    async fn ask(&mut self, name: &str, stored: &Stored) -> Result<(), Failure> {
        let now = self.shared.clock.now();
        let (window, again) = match self.window(stored).await {
            Ok((window, again)) => (Some(window), again.clamp(SOONEST_QUESTION, LATEST_QUESTION)),
            Err(None) => (None, LATEST_QUESTION),
            Err(Some(failure)) => {
                tracing::debug!(name, "the authority does not say when to renew: {failure}");
                (None, failure.retry_after.unwrap_or(QUESTION_AFTER_FAILURE).clamp(QUESTION_AFTER_FAILURE, LATEST_QUESTION))
            }
        };
        let serial = stored.certificate.serial.clone();
        let record = RenewalRecord { serial, window, ask_again_at: now.plus(again) };
        let (folder, owned) = (self.folder.clone(), name.to_owned());
        on_disk(move || folder.put_renewal(&owned, &record)).await
    }

    /// The error is `None` if the directory has no such resource.
    async fn window(&mut self, stored: &Stored) -> Result<(Window, Duration), Option<Failure>> {
        let Some(id) = &stored.certificate.id else { return Err(None) };
        let account = match &self.account {
            Some(account) => account.clone(),
            None => {
                let shared = self.shared;
                let accounts = Accounts {
                    directory: &shared.settings.directory,
                    email: shared.settings.email.as_deref(),
                    eab: shared.settings.eab.as_ref(),
                    folder: &self.folder,
                    http: &self.http,
                };
                accounts.open(shared.clock.now()).await.map_err(Some)?
            }
        };
        self.account = Some(account.clone());
        match account.renewal_info(id).await {
            Ok((info, again)) => {
                let at = |time: i64| Timestamp(u64::try_from(time).unwrap_or(0));
                let window = info.suggested_window;
                Ok((Window { start: at(window.start.unix_timestamp()), end: at(window.end.unix_timestamp()) }, again))
            }
            Err(Error::Unsupported(_)) => Err(None),
            Err(error) => Err(Some(Failure::of(&error, FailureKind::Unreachable, self.http.last()))),
        }
    }

    fn log(&self, name: &str, failure: &Failure, record: &AttemptRecord) {
        let minutes = record.started_at.until(record.next_at).as_secs().div_ceil(60);
        tracing::error!(
            name,
            directory = self.shared.settings.directory,
            failures = record.count,
            "cannot get a certificate: {failure}; the next attempt is in {minutes} min"
        );
    }

    async fn put_attempt(&self, name: Option<&str>, record: AttemptRecord) -> Result<(), Failure> {
        let (folder, name) = (self.folder.clone(), name.map(str::to_owned));
        on_disk(move || folder.put_attempt(name.as_deref(), &record)).await
    }

    async fn remove_attempt(&self, name: Option<&str>) -> Result<(), Failure> {
        let (folder, name) = (self.folder.clone(), name.map(str::to_owned));
        on_disk(move || {
            folder.remove_attempt(name.as_deref());
            Ok(())
        })
        .await
    }
}

fn record(failure: &Failure, count: u32, started_at: Timestamp, ended_at: Timestamp) -> AttemptRecord {
    AttemptRecord {
        count,
        started_at,
        next_at: ended_at.plus(failure.kind.wait(count, failure.retry_after)),
        kind: failure.kind,
        message: failure.message.clone(),
    }
}
