//! The task that keeps the certificates of one directory and one store: it reads, plans, orders, and never takes the site down.

mod names;
mod work;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use rustls::sign::CertifiedKey;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::Client;
use ziggurat_middleware::metrics::Counter;

use super::challenges;
use super::failure::Failure;
use super::held_lock::HeldLock;
use super::plan::Stored;
use super::report::NameReport;
use super::settings::AcmeSettings;
use super::store::lock::{Watch, machine};
use super::time::{Clock, Timestamp};

/// What the store says about the names, without a server.
pub(crate) fn reports(settings: &AcmeSettings, now: Timestamp) -> Vec<NameReport> {
    names::reports(settings, &machine(), now)
}

/// The certificates of one directory and one store.
#[derive(Clone)]
pub(crate) struct Manager {
    shared: Arc<Shared>,
    /// Cancelled when the store may be written.
    begin: CancellationToken,
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    settings: AcmeSettings,
    client: Client,
    clock: Clock,
    machine: String,
    watch: Arc<Mutex<Watch>>,
    sinks: Mutex<Vec<Weak<dyn CertificateSink>>>,
    /// By name; those that are served.
    certificates: ArcSwap<HashMap<String, Stored>>,
    reports: ArcSwap<Vec<NameReport>>,
    figures: Figures,
}

/// Who serves certificates of a manager.
pub(crate) trait CertificateSink: Send + Sync {
    /// A certificate was replaced, or is new.
    fn changed(&self);
}

/// What happened since the start of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) issued: Arc<Counter>,
    pub(crate) failed: Arc<Counter>,
}

/// How often the store is read when nothing is due.
const READ_EVERY: Duration = Duration::from_secs(60);

/// How often it is read while another process works on it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long the end of the server waits for an order that is under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Manager {
    /// Reads the store, and starts the task, which waits for [`Manager::begin`]. Must be called within a runtime.
    pub(crate) fn start(settings: AcmeSettings, client: Client, figures: Figures) -> Self {
        Self::start_at(settings, client, figures, Clock::system(), machine())
    }

    pub(super) fn start_at(settings: AcmeSettings, client: Client, figures: Figures, clock: Clock, machine: String) -> Self {
        let shared = Arc::new(Shared {
            settings,
            client,
            clock,
            machine,
            watch: Arc::default(),
            sinks: Mutex::default(),
            certificates: ArcSwap::default(),
            reports: ArcSwap::default(),
            figures,
        });
        // What the store has is served from the first connection on.
        shared.read();
        let (begin, stop) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(keep_running(Arc::clone(&shared), begin.clone(), stop.clone()));
        Self { shared, begin, stop, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Has the task order what is due. Before, the process may be another user's, or never come to serve.
    pub(crate) fn begin(&self) {
        self.begin.cancel();
    }

    pub(crate) fn settings(&self) -> &AcmeSettings {
        &self.shared.settings
    }

    /// The certificate for a name, in lower case.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.shared.certificates.load().get(name).map(|stored| Arc::clone(&stored.certificate.certified))
    }

    /// The certificate that answers a TLS-ALPN-01 challenge for a name, in lower case. It reads a small file, for the names of this manager only.
    pub(crate) fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let settings = &self.shared.settings;
        let is_own = settings.names.iter().any(|own| own.name == name);
        is_own.then(|| challenges::certificate(&settings.store, name)).flatten()
    }

    /// Has the sink told of what there is now, and of changes for as long as somebody else keeps it.
    pub(crate) fn attach(&self, sink: &Arc<dyn CertificateSink>) {
        let mut sinks = self.shared.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(Arc::downgrade(sink));
        drop(sinks);
        sink.changed();
    }

    pub(crate) fn reports(&self) -> Arc<Vec<NameReport>> {
        self.shared.reports.load_full()
    }

    /// Ends the task. An order that is under way has a short time to finish.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut task) = task
            && timeout(STOP_TIMEOUT, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

#[cfg(test)]
impl Manager {
    /// Ends the task at once.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

/// Runs until it is told to stop, whatever happens.
async fn keep_running(shared: Arc<Shared>, begin: CancellationToken, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = begin.cancelled() => {}
    }
    while AssertUnwindSafe(run(Arc::clone(&shared), stop.clone())).catch_unwind().await.is_err() {
        tracing::error!(directory = shared.settings.directory, "getting certificates has panicked, and is tried again");
        sleep(READ_EVERY).await;
    }
}

/// Reads and works until it is told to stop. Nothing that fails in here ends it.
async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let reading = Arc::clone(&shared);
        let known = tokio::task::spawn_blocking(move || reading.read()).await;
        let known = match known {
            Ok(known) => known,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending.
            Err(_) => return,
        };
        let now = shared.clock.now();
        let next = known.iter().map(|name| name.next_at()).min().unwrap_or(Timestamp(u64::MAX));
        let wait = if next <= now {
            match HeldLock::acquire(shared.settings.store.root(), &shared.watch).await {
                Ok(Some(lock)) => {
                    let worked = shared.work(&lock, &stop).await;
                    drop(lock);
                    // What was done is read at once, if there was anything.
                    if worked { Duration::ZERO } else { READ_EVERY }
                }
                Ok(None) => LOOK_AGAIN,
                Err(failure) => {
                    shared.log_store(&failure);
                    READ_EVERY
                }
            }
        } else {
            now.until(next).min(READ_EVERY)
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

impl Shared {
    /// Without a store that can be written, nothing may be ordered: nobody would remember it.
    fn log_store(&self, failure: &Failure) {
        tracing::error!(store = %self.settings.store.root().display(), "no certificate can be ordered: {failure}");
    }
}
