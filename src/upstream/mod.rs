//! Upstreams: other servers that answer requests. Everything that is the same however they are spoken to is here, once.
//!
//! An [`Upstream`] is a set of endpoints with what is known of them. [`Upstream::send`] has a request answered: it waits for a place at an endpoint (`admit`, `queue`, `balance`, `sticky`),
//! takes a connection (`pool`), and tries again where that is safe (`retry`, `replay`). An attempt ends in an answer or in one typed [`Failure`], which retries, ejection
//! (`eject`), the log and the figures all read. Beside the requests, `checks` asks the endpoints whether they are well, and `set` looks names up again.
//!
//! How a request is put on a connection is a [`Protocol`]; `http` is the one for HTTP/1.1 and HTTP/2.

mod admit;
mod balance;
mod checks;
mod dial;
mod download;
mod eject;
mod endpoint;
mod failure;
mod figures;
mod health;
pub(crate) mod http;
mod pace;
mod percent;
mod pool;
mod protocol;
mod queue;
mod replay;
mod retry;
mod send;
mod set;
mod sticky;
mod target;
mod tls;
mod trailers;
mod tunnel;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::HeaderValue;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use ziggurat_middleware::Place;

pub(crate) use admit::Refused;
pub(crate) use balance::Balance;
pub(crate) use download::Download;
pub(crate) use eject::EjectOptions;
pub(crate) use endpoint::{Endpoint, Memory};
pub(crate) use health::HealthOptions;
pub(crate) use pool::Times;
pub(crate) use protocol::Protocol;
pub(crate) use queue::QueueOptions;
pub(crate) use retry::RetryOptions;
pub(crate) use send::{Answer, Outgoing, Unanswered};
pub(crate) use sticky::StickyOptions;
pub(crate) use target::Target;
pub(crate) use tls::TlsOptions;
pub(crate) use tunnel::{End, tunnel};

/// A set of endpoints that answer the same requests.
pub(crate) struct Upstream<P: Protocol> {
    place: Place,
    settings: Settings,
    protocol: Arc<P>,
    memory: Arc<Memory>,
    set: ArcSwap<set::Set<P>>,
    entries: Mutex<Vec<set::Entry>>,
    /// How many names have not been looked up yet.
    unresolved: watch::Sender<usize>,
    /// Rung when names should be looked up before it is time.
    nudge: Notify,
    /// Rung when there are other endpoints than before.
    changed: Notify,
}

/// How requests are spread and repeated, and how long things may take.
pub(crate) struct Settings {
    /// Where relative paths of sockets start.
    pub(crate) base: PathBuf,
    pub(crate) balance: Balance,
    pub(crate) sticky: Option<StickyOptions>,
    pub(crate) times: Times,
    /// Until the head of an answer.
    pub(crate) head: Duration,
    /// Between octets of the body of an answer.
    pub(crate) idle: Duration,
    /// Requests under way at each endpoint.
    pub(crate) limit: usize,
    pub(crate) queue: QueueOptions,
    pub(crate) retry: Option<RetryOptions>,
    pub(crate) health: Option<HealthOptions>,
    /// The `Host` of health checks, where it is not that of the endpoint.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) eject: Option<EjectOptions>,
    /// How often names are looked up.
    pub(crate) resolve: Duration,
}

impl<P: Protocol> Upstream<P> {
    /// Makes an upstream of these servers, each with its weight. Names are looked up, and endpoints checked, by [`Upstream::run`].
    pub(crate) fn new(
        place: &Place,
        targets: impl IntoIterator<Item = (Target, u32)>,
        settings: Settings,
        protocol: P,
        memory: Arc<Memory>,
    ) -> Arc<Self> {
        let entries = targets.into_iter().map(|(target, weight)| set::Entry::new(target, weight)).collect();
        let upstream = Self {
            place: place.clone(),
            settings,
            protocol: Arc::new(protocol),
            memory,
            set: ArcSwap::default(),
            entries: Mutex::new(entries),
            unresolved: watch::Sender::new(0),
            nudge: Notify::new(),
            changed: Notify::new(),
        };
        upstream.unresolved.send_replace(upstream.names().len());
        upstream.rebuild();
        Arc::new(upstream)
    }

    /// Looks names up and checks endpoints, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut names = JoinSet::new();
        for name in self.names() {
            names.spawn(set::watch(Arc::clone(&self), name));
        }
        checks::run(self).await;
    }

    fn lock_entries(&self) -> MutexGuard<'_, Vec<set::Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
