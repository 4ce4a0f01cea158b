//! Figures about the connections and requests of a server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ziggurat_middleware::Metrics;

use super::{ConnectionTable, Entry};

/// Figures about a server's connections.
#[derive(Clone)]
pub struct Traffic(pub(in crate::server) Arc<ConnectionTable>);

impl Traffic {
    /// Open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open()
    }

    /// Open connections and streams that were upgraded, to WebSockets for instance.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels.load(Ordering::Relaxed)
    }

    /// Clients that got a 503 since the server was started, because there was no room for another connection.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// TLS handshakes under way.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.0.handshakes.under_way_now()
    }

    /// TLS handshakes since the server was started: completed ones, those of them that resumed a session, and failed ones.
    #[must_use]
    pub fn handshake_counts(&self) -> [u64; 3] {
        self.0.handshakes.counts()
    }

    /// Connections accepted since the server was started.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Requests that entered the stack since the server was started.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let entries = self.0.entries();
        let open: u64 = entries.values().map(|entry| entry.requests.load(Ordering::Relaxed)).sum();
        open + self.0.requests.load(Ordering::Relaxed)
    }

    /// Those of them whose responses are under way. Upgraded connections are not among them.
    #[must_use]
    pub fn in_progress(&self) -> u64 {
        // What has ended has entered before.
        let under_way = |entry: &Arc<Entry>| {
            let ended = entry.ended.load(Ordering::Acquire);
            entry.requests.load(Ordering::Relaxed).saturating_sub(ended)
        };
        self.0.entries().values().map(under_way).sum()
    }

    /// Responses by the class of their status (`2xx`), and requests without one (`none`), since the server was started.
    #[must_use]
    pub fn responses(&self) -> Vec<(&'static str, u64)> {
        self.0.metrics.statuses()
    }

    /// Adds the metrics of HTTP to a scrape.
    pub fn scrape(&self, metrics: &mut Metrics) {
        metrics.gauge("ziggurat_http_requests_in_progress", "Requests whose responses are under way.").sample(&[], self.in_progress());
        self.0.metrics.scrape(metrics);
    }
}
