//! Upstreams: other servers that answer requests. What does not depend on their protocol is here, once.
//!
//! An [`Upstream`] is a set of endpoints and their state. [`Upstream::send`] sends a request: it chooses an endpoint or waits for one (`admit`, `queue`,
//! `balance`, `sticky`), takes a connection (`pool`), and tries again where that is safe (`retry`, `replay`). An attempt ends with a response or with
//! one typed failure (`failure`), which retries, ejection (`eject`), the log and the figures read. In the background `checks` runs health checks, and
//! `set` looks names up.
//!
//! A [`Protocol`] writes requests to connections; `http` is the one for HTTP/1.1 and HTTP/2.

mod admit;
mod balance;
mod checks;
mod client;
pub(crate) mod defaults;
mod dial;
mod download;
mod eject;
mod endpoint;
mod failure;
mod figures;
pub(crate) mod gateway;
mod health;
pub(crate) mod http;
mod pool;
mod progress;
mod protocol;
mod queue;
mod replay;
mod retry;
mod send;
mod set;
mod span;
mod sticky;
mod target;
mod tls;
mod trailers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::HeaderValue;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use ziggurat_middleware::{Context, Place};

pub(crate) use admit::AdmitError;
pub(crate) use balance::Balance;
pub(crate) use client::{client, client_trusting};
pub(crate) use dial::{Stream, dial};
pub(crate) use download::Download;
pub(crate) use eject::EjectOptions;
pub(crate) use endpoint::{Endpoint, UpstreamState};
pub(crate) use health::HealthOptions;
pub(crate) use pool::{Lease, PoolTimeouts};
pub(crate) use protocol::Protocol;
pub(crate) use queue::{Queue, QueueMetrics, QueueOptions};
pub(crate) use retry::RetryOptions;
pub(crate) use send::{SendError, UpstreamRequest, UpstreamResponse};
pub(crate) use sticky::StickyOptions;
pub(crate) use target::{Address, Host, Target};
pub(crate) use tls::{TlsClient, TlsOptions};

/// A set of endpoints that answer the same requests.
pub(crate) struct Upstream<P: Protocol> {
    place: Place,
    settings: Settings,
    protocol: Arc<P>,
    state: Arc<UpstreamState>,
    set: ArcSwap<set::EndpointSet<P>>,
    entries: Mutex<Vec<set::ServerEntry>>,
    /// How many names have not been looked up yet.
    unresolved: watch::Sender<usize>,
    /// Notified when names should be looked up before the interval ends.
    lookup_requested: Notify,
    /// Notified when the set of endpoints has changed.
    changed: Notify,
}

/// The settings of an upstream.
pub(crate) struct Settings {
    /// Where relative paths of sockets start.
    pub(crate) base: PathBuf,
    pub(crate) balance: Balance,
    pub(crate) sticky: Option<StickyOptions>,
    pub(crate) timeouts: PoolTimeouts,
    /// The longest time to the head of a response.
    pub(crate) head: Duration,
    /// The longest pause in the body of a response.
    pub(crate) idle: Duration,
    /// The most requests under way at each endpoint.
    pub(crate) limit: usize,
    pub(crate) queue: QueueOptions,
    pub(crate) retry: Option<RetryOptions>,
    pub(crate) health: Option<HealthOptions>,
    /// The `Host` of health checks. By default it is the endpoint's.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) eject: Option<EjectOptions>,
    /// How often names are looked up.
    pub(crate) resolve: Duration,
}

impl<P: Protocol> Upstream<P> {
    /// An upstream of these servers, each with its weight. [`Upstream::run`] looks names up and runs health checks.
    pub(crate) fn new(
        place: &Place,
        targets: impl IntoIterator<Item = (Target, u32)>,
        settings: Settings,
        protocol: P,
        state: Arc<UpstreamState>,
    ) -> Arc<Self> {
        let entries = targets.into_iter().map(|(target, weight)| set::ServerEntry::new(target, weight)).collect();
        let upstream = Self {
            place: place.clone(),
            settings,
            protocol: Arc::new(protocol),
            state,
            set: ArcSwap::default(),
            entries: Mutex::new(entries),
            unresolved: watch::Sender::new(0),
            lookup_requested: Notify::new(),
            changed: Notify::new(),
        };
        upstream.unresolved.send_replace(upstream.names().len());
        upstream.rebuild();
        Arc::new(upstream)
    }

    /// An upstream at a place of the file: it runs as long as the stack, its state outlives a reload, and `status` and the metrics show it.
    pub(crate) fn start(context: &Context, targets: impl IntoIterator<Item = (Target, u32)>, settings: Settings, protocol: P) -> Arc<Self> {
        let upstream = Self::new(context.place(), targets, settings, protocol, context.keep(UpstreamState::default));
        context.spawn(Arc::clone(&upstream).run());
        let (status, metrics) = (Arc::downgrade(&upstream), Arc::downgrade(&upstream));
        context.on_status(move || status.upgrade().map(|upstream| upstream.status()).unwrap_or_default());
        context.on_scrape(move |all| {
            if let Some(upstream) = metrics.upgrade() {
                upstream.scrape(all);
            }
        });
        upstream
    }

    /// Looks names up and runs health checks. It never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut names = JoinSet::new();
        for name in self.names() {
            names.spawn(set::watch(Arc::clone(&self), name));
        }
        checks::run(self).await;
    }

    fn lock_entries(&self) -> MutexGuard<'_, Vec<set::ServerEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
