//! The store that the processes of several machines share: a Redis.
//!
//! [`SharedStore`] asks it by scripts, one for each decision. All requests share one connection (`connection`) that a task keeps open (`link`). An answer that takes longer than
//! `timeout` is none, and without a connection there is none at once, so a dead Redis costs requests nothing.

mod connection;
mod figures;
mod link;
mod options;
mod resp;
mod script;
#[cfg(test)]
mod tests;
mod url;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use ziggurat_middleware::rate_limit::{Quota, Verdict};
use ziggurat_middleware::store::{LEASE, MOST_VALUE, PATIENCE, PlaceBounds, Store, StoreError, StoreFuture, StoreKey, Ticket, Turn};
use ziggurat_middleware::{Context, Finding, Metrics, Place};

use link::Link;
pub use options::StoreSetting;
use resp::Reply;
#[cfg(fuzzing)]
pub use resp::fuzz_replies;
use script::{Question, Script};

/// A Redis.
pub(crate) struct SharedStore {
    setting: StoreSetting,
    base: PathBuf,
    link: Arc<Link>,
    scripts: Scripts,
    /// The task that connects.
    task: Option<AbortHandle>,
}

struct Scripts {
    rate: Script,
    enter: Script,
    renew: Script,
}

/// The stores of this process: generations with the same setting share one.
#[derive(Default)]
struct Opened(Mutex<Vec<Weak<SharedStore>>>);

impl SharedStore {
    /// A store that is only named: it opens no connection, and never answers.
    pub(crate) fn named(setting: &StoreSetting, base: &Path) -> Self {
        let link = Arc::new(Link::new(setting.0.clone(), base.to_owned()));
        let scripts = Scripts {
            rate: Script::new(include_str!("rate.lua")),
            enter: Script::new(include_str!("enter.lua")),
            renew: Script::new(include_str!("renew.lua")),
        };
        Self { setting: setting.clone(), base: base.to_owned(), link, scripts, task: None }
    }

    /// The store of a stack: that of the stack before, if the setting is the same, or a new one, which connects from now on. `context` shows its figures.
    ///
    /// # Errors
    ///
    /// If the files of TLS cannot be used. A store that cannot be reached is no error.
    pub(crate) fn open(setting: &StoreSetting, base: &Path, context: &Context) -> Result<Arc<Self>, Finding> {
        let opened = context.keep(Opened::default);
        let mut opened = opened.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = opened.iter().filter_map(Weak::upgrade).find(|store| store.setting == *setting && store.base == base);
        let store = match known {
            Some(store) => store,
            None => {
                let store = Arc::new(Self::connecting(setting, base)?);
                opened.retain(|store| store.strong_count() > 0);
                opened.push(Arc::downgrade(&store));
                store
            }
        };
        store.show(context);
        Ok(store)
    }

    fn connecting(setting: &StoreSetting, base: &Path) -> Result<Self, Finding> {
        let options = &setting.0;
        let tls = if options.url.is_tls {
            let place = Place::new("server.store");
            Some(options.tls.clone().unwrap_or_default().client(&place, |path| base.join(path), &[])?)
        } else {
            None
        };
        let mut store = Self::named(setting, base);
        store.task = Some(tokio::spawn(Arc::clone(&store.link).run(tls)).abort_handle());
        Ok(store)
    }

    fn show(&self, context: &Context) {
        let link = Arc::clone(&self.link);
        context.on_status(move || link.figures.status());
        let link = Arc::clone(&self.link);
        context.on_scrape(move |metrics: &mut Metrics| link.figures.scrape(metrics, link.under_way()));
    }

    fn entry(&self, kind: &str, key: &StoreKey) -> String {
        format!("{}{kind}:{key}", self.setting.0.prefix)
    }

    /// Asks, and reads the reply.
    fn ask<T: Send + 'static>(&self, question: Question, read: impl FnOnce(Reply) -> Option<T> + Send + 'static) -> StoreFuture<T> {
        // Sent at once and not when the future is polled: a place is renewed before it is given up.
        let reply = self.link.ask(question);
        Box::pin(async move { read(reply.await?).ok_or_else(|| StoreError::new("its answer is none that was asked for")) })
    }

    fn rate(&self, key: &StoreKey, quota: Quota, counts: bool) -> StoreFuture<Verdict> {
        let numbers = [quota.interval(), quota.window()].map(|time| time.as_nanos().to_string());
        let [interval, window] = numbers;
        let counts = if counts { "1" } else { "0" };
        let question = self.scripts.rate.with(&[self.entry("rate", key)], &[interval, window, counts.to_owned()]);
        self.ask(question, move |reply| match reply {
            Reply::Number(used) => Some(quota.verdict(Duration::from_nanos(u64::try_from(used).ok()?))),
            _ => None,
        })
    }
}

impl Drop for SharedStore {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Store for SharedStore {
    fn name(&self) -> &str {
        self.link.figures.name()
    }

    fn take(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict> {
        self.rate(key, quota, true)
    }

    fn peek(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict> {
        self.rate(key, quota, false)
    }

    fn enter(&self, key: &StoreKey, ticket: Ticket, bounds: PlaceBounds) -> StoreFuture<Turn> {
        let keys = ["held", "queue", "waiting"].map(|kind| self.entry(kind, key));
        let numbers = [bounds.at_most, bounds.queue].map(|number| number.to_string());
        let [at_most, queue] = numbers;
        let [lease, patience] = [LEASE, PATIENCE].map(|time| time.as_millis().to_string());
        self.ask(self.scripts.enter.with(&keys, &[ticket.to_string(), at_most, queue, lease, patience]), |reply| match reply {
            Reply::Number(-1) => Some(Turn::Refused),
            Reply::Number(0) => Some(Turn::UnderWay),
            Reply::Number(position) => usize::try_from(position - 1).ok().map(Turn::Waiting),
            _ => None,
        })
    }

    fn renew(&self, key: &StoreKey, ticket: Ticket) -> StoreFuture<()> {
        let lease = LEASE.as_millis().to_string();
        self.ask(self.scripts.renew.with(&[self.entry("held", key)], &[ticket.to_string(), lease]), |_| Some(()))
    }

    fn leave(&self, key: &StoreKey, ticket: Ticket) {
        let ticket = Bytes::from(ticket.to_string());
        for kind in ["held", "queue"] {
            self.link.tell(&[Bytes::from_static(b"ZREM"), self.entry(kind, key).into(), ticket.clone()]);
        }
    }

    fn get(&self, key: &StoreKey) -> StoreFuture<Option<Bytes>> {
        let words = vec![Bytes::from_static(b"GET"), self.entry("value", key).into()];
        self.ask(Question::plain(words), |reply| match reply {
            Reply::Text(value) => Some(Some(value)),
            Reply::Nothing => Some(None),
            _ => None,
        })
    }

    fn set(&self, key: &StoreKey, value: Bytes, expires: Duration) -> StoreFuture<()> {
        if value.len() > MOST_VALUE {
            return Box::pin(async { Err(StoreError::new("the value is too long")) });
        }
        let expires = expires.as_nanos().div_ceil(1_000_000).max(1).to_string();
        let words = vec![Bytes::from_static(b"SET"), self.entry("value", key).into(), value, Bytes::from_static(b"PX"), expires.into()];
        self.ask(Question::plain(words), |reply| matches!(reply, Reply::Text(_)).then_some(()))
    }

    fn delete(&self, key: &StoreKey) -> StoreFuture<bool> {
        let words = vec![Bytes::from_static(b"DEL"), self.entry("value", key).into()];
        self.ask(Question::plain(words), |reply| match reply {
            Reply::Number(removed) => Some(removed > 0),
            _ => None,
        })
    }
}
