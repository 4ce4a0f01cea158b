//! The account with a directory: from the store, made anew, or replaced when the directory has forgotten it.

use std::io;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use tokio::task::spawn_blocking;

use super::client::DirectoryClient;
use super::failure::{Failure, FailureKind, type_of, with_nonce_retries};
use super::options::EabOptions;
use super::store::{AccountRecord, DirectoryFolder, Read};
use super::time::Timestamp;

/// Whom to be at which directory.
pub(super) struct Accounts<'a> {
    pub(super) directory: &'a str,
    pub(super) email: Option<&'a str>,
    pub(super) eab: Option<&'a EabOptions>,
    pub(super) folder: &'a DirectoryFolder,
    pub(super) http: &'a DirectoryClient,
}

/// An account that took the place of a forgotten one is not replaced again within this time.
const REPLACE_EVERY: Duration = Duration::from_secs(3600);

impl Accounts<'_> {
    /// The account of the store. If there is none, registers one.
    pub(super) async fn open(&self, now: Timestamp) -> Result<Account, Failure> {
        let folder = self.folder.clone();
        let reason = match on_disk(move || folder.account()).await? {
            Read::Missing => return self.register(now, false).await,
            Read::Whole(record) => match self.restore(record).await? {
                Ok(account) => return Ok(account),
                Err(reason) => reason,
            },
            Read::Damaged(reason) => reason,
        };
        let aside = self.set_aside().await?;
        tracing::error!(
            directory = self.directory,
            "the account in the store is damaged ({reason}) and was set aside as `{aside}`: registering a new one"
        );
        self.register(now, false).await
    }

    /// Registers an account in the place of one that the directory has forgotten, at most once in an hour.
    pub(super) async fn replace(&self, now: Timestamp) -> Result<Account, Failure> {
        let folder = self.folder.clone();
        if let Read::Whole(record) = on_disk(move || folder.account()).await? {
            if record.is_replacement && record.created_at.until(now) < REPLACE_EVERY {
                return Err(Failure::new(
                    FailureKind::AccountLost,
                    "the directory has forgotten the account again, within an hour after a new one was registered",
                ));
            }
            self.set_aside().await?;
        }
        tracing::warn!(directory = self.directory, "the directory does not know the account any more: registering a new one");
        self.register(now, true).await
    }

    /// The account of a record, with the email of now. The inner error is what is wrong with the record.
    async fn restore(&self, record: AccountRecord) -> Result<Result<Account, String>, Failure> {
        let credentials: AccountCredentials = match serde_json::from_value(record.credentials.clone()) {
            Ok(credentials) if record.directory == self.directory => credentials,
            Ok(_) => return Ok(Err(format!("it is of the directory `{}`", record.directory))),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let account = match Account::builder_with_http(Box::new(self.http.clone())).from_credentials(credentials).await {
            Ok(account) => account,
            Err(error @ (Error::KeyRejected | Error::Crypto)) => return Ok(Err(error.to_string())),
            Err(error) => return Err(self.failure(&error)),
        };
        let email = self.email.unwrap_or_default();
        if record.email != email {
            let contact = self.contact();
            let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
            match with_nonce_retries!(account.update_contacts(&contacts)) {
                Ok(()) => self.save(AccountRecord { email: email.to_owned(), ..record }).await?,
                // The account is good for orders all the same. The next attempt tries again.
                Err(error) => {
                    let failure = self.failure(&error);
                    if failure.kind == FailureKind::AccountLost {
                        return Err(failure);
                    }
                    tracing::warn!(directory = self.directory, "the directory does not accept the new email of the account: {failure}");
                }
            }
        }
        Ok(Ok(account))
    }

    async fn register(&self, now: Timestamp, is_replacement: bool) -> Result<Account, Failure> {
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let binding = self.eab.and_then(|eab| Some(ExternalAccountKey::new(eab.key_id.trim().to_owned(), &eab.key()?)));
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        let created = with_nonce_retries!(builder().create(&new, self.directory.to_owned(), binding.as_ref()));
        let (account, credentials) = created.map_err(|error| self.refusal(&error))?;
        let credentials = serde_json::to_value(&credentials).map_err(|error| Failure::new(FailureKind::Store, error.to_string()))?;
        self.save(AccountRecord {
            directory: self.directory.to_owned(),
            email: self.email.unwrap_or_default().to_owned(),
            created_at: now,
            is_replacement,
            credentials,
        })
        .await?;
        tracing::info!(directory = self.directory, "registered the account {}", account.id());
        Ok(account)
    }

    fn contact(&self) -> Option<String> {
        self.email.map(|email| format!("mailto:{email}"))
    }

    async fn save(&self, record: AccountRecord) -> Result<(), Failure> {
        let folder = self.folder.clone();
        on_disk(move || folder.put_account(&record)).await
    }

    async fn set_aside(&self) -> Result<String, Failure> {
        let folder = self.folder.clone();
        on_disk(move || folder.set_account_aside()).await.map(|path| path.display().to_string())
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure::of(error, FailureKind::Order, self.http.last())
    }

    /// Why no account can be registered. If it was to be bound to another one, that is the likely reason.
    fn refusal(&self, error: &Error) -> Failure {
        let failure = Failure::of(error, FailureKind::AccountRefused, self.http.last());
        if failure.kind != FailureKind::AccountRefused {
            return failure;
        }
        let is_wanted = matches!(error, Error::Api(problem) if type_of(problem) == "externalAccountRequired");
        let message = match self.eab {
            Some(eab) => format!("the directory refuses the external account binding `{}` (`eab`): {}", eab.key_id, failure.message),
            None if is_wanted => format!("the directory wants an external account binding (`eab`): {}", failure.message),
            None => format!("the directory refuses to register an account: {}", failure.message),
        };
        Failure { retry_after: failure.retry_after, ..Failure::new(FailureKind::AccountRefused, message) }
    }
}

/// Uses the store off the threads of the runtime.
pub(super) async fn on_disk<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    match spawn_blocking(act).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::new(FailureKind::Store, format!("cannot use the store: {error}"))),
        Err(_) => Err(Failure::new(FailureKind::Store, "cannot use the store: the runtime is ending")),
    }
}
