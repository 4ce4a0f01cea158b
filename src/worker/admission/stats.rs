//! Figures of an admission, for status and metrics.

use serde_json::{Map, Value, json};
use ziggurat_middleware::Metrics;
use ziggurat_middleware::metrics::Distribution;

use super::BackendId;

/// The figures of one app's queue at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    /// Requests that wait, prefetched ones included, and how many may.
    pub(crate) waiting: usize,
    pub(crate) limit: usize,
    /// Threads of open backends, and how many of all backends run a request.
    pub(crate) threads: usize,
    pub(crate) busy: usize,
    /// Open WebSockets, and how many may be open.
    pub(crate) websockets: usize,
    pub(crate) websocket_limit: usize,
    /// Since the start.
    pub(crate) total: Totals,
    /// How long requests waited for a backend.
    pub(crate) waits: Distribution,
    pub(crate) backends: Vec<BackendStats>,
}

impl Stats {
    /// For `ziggurat status`: threads, queue and requests of the app.
    pub(crate) fn status(&self) -> Map<String, Value> {
        let queue = json!({
            "length": self.waiting,
            "limit": self.limit,
            "waited_s": { "sum": self.waits.sum, "count": self.waits.count },
        });
        let requests = json!({
            "begun": self.total.begun,
            "refused: queue full": self.total.refused_full,
            "refused: waited too long": self.total.refused_waited,
            "over deadline": self.total.expired,
        });
        let fields = [("threads", self.threads.into()), ("busy", self.busy.into()), ("queue", queue), ("requests", requests)];
        let websockets = json!({ "open": self.websockets, "limit": self.websocket_limit, "refused": self.total.refused_websockets });
        let websockets = (self.websocket_limit > 0).then_some(("websockets", websockets));
        fields.into_iter().chain(websockets).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The same as metrics, labelled with the app's place.
    pub(crate) fn scrape(&self, app: &str, metrics: &mut Metrics) {
        let labels = [("app", app)];
        metrics.gauge("ziggurat_wsgi_threads", "Threads that call the app.").sample(&labels, self.threads);
        metrics.gauge("ziggurat_wsgi_threads_busy", "Threads that serve a request.").sample(&labels, self.busy);
        metrics.gauge("ziggurat_wsgi_queue_length", "Requests that wait for a thread.").sample(&labels, self.waiting);
        let waits = metrics.histogram("ziggurat_wsgi_queue_wait_seconds", "Time that requests waited for a thread.");
        waits.sample(&labels, self.waits.clone());
        metrics.counter("ziggurat_wsgi_requests_total", "Requests assigned to a thread.").sample(&labels, self.total.begun);
        let refused = metrics.counter("ziggurat_wsgi_refused_total", "Requests refused with 503.");
        refused.sample(&[("app", app), ("reason", "queue full")], self.total.refused_full);
        refused.sample(&[("app", app), ("reason", "waited too long")], self.total.refused_waited);
        if self.websocket_limit > 0 {
            refused.sample(&[("app", app), ("reason", "too many websockets")], self.total.refused_websockets);
        }
        metrics.counter("ziggurat_wsgi_expired_total", "Requests over their deadline.").sample(&labels, self.total.expired);
        if self.websocket_limit > 0 {
            metrics.gauge("ziggurat_wsgi_websockets", "Open WebSockets.").sample(&labels, self.websockets);
        }
    }
}

/// Requests since the start of the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Assigned to a backend, repeatedly if one returned it.
    pub(crate) begun: u64,
    /// Refused because the queue was full.
    pub(crate) refused_full: u64,
    /// Refused because they had waited too long.
    pub(crate) refused_waited: u64,
    /// WebSockets refused because too many were open.
    pub(crate) refused_websockets: u64,
    /// Over their deadline.
    pub(crate) expired: u64,
}

/// The figures of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendStats {
    pub(crate) id: BackendId,
    /// Whether it is assigned calls.
    pub(crate) is_open: bool,
    pub(crate) threads: usize,
    /// Its calls, prefetched ones included.
    pub(crate) in_progress: usize,
    pub(crate) begun: u64,
}
