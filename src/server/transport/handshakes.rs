//! The TLS handshakes under way: how many there may be, how they end, and what the log says about those that fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use ziggurat_middleware::Summary;

/// All handshakes of a server. A handshake is under way from the first octet of a client on.
#[derive(Default)]
pub(in crate::server) struct Handshakes {
    under_way: Mutex<BTreeMap<u64, CancellationToken>>,
    begun: AtomicU64,
    completed: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
    evicted: AtomicU64,
    /// By listener.
    log: Summary<(String, Failure)>,
}

/// A handshake that counts as one under way until this is dropped.
pub(super) struct HandshakeGuard<'a> {
    all: &'a Handshakes,
    number: u64,
    evicted: CancellationToken,
}

/// Why a connection did not get through its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// The client speaks HTTP without TLS.
    ClearText,
    /// The client has sent something else.
    NoTls,
    TooSlow,
    /// Others have taken its place.
    Evicted,
    Closed,
    /// No certificate is there.
    NoCertificate,
    /// The client has sent an alert: it does not trust the certificate, for instance.
    Alert,
    /// The client's certificate was refused.
    ClientCertificate,
    /// Client and server have no version or cipher suite in common, or the client breaks the rules.
    Protocol,
}

impl Handshakes {
    /// Counts one more. If there are `most` of them, the oldest ends: clients that are silent or slow must not shut others out.
    pub(super) fn begin(&self, most: usize) -> HandshakeGuard<'_> {
        let number = self.begun.fetch_add(1, Relaxed);
        let evicted = CancellationToken::new();
        let mut under_way = self.under_way();
        while under_way.len() >= most.max(1) {
            let Some((_, oldest)) = under_way.pop_first() else { break };
            oldest.cancel();
            self.evicted.fetch_add(1, Relaxed);
        }
        under_way.insert(number, evicted.clone());
        HandshakeGuard { all: self, number, evicted }
    }

    pub(super) fn complete(&self, is_resumed: bool) {
        self.completed.fetch_add(1, Relaxed);
        self.resumed.fetch_add(u64::from(is_resumed), Relaxed);
    }

    /// Counts one that has failed, and logs it, or counts it for the log.
    pub(super) fn fail(&self, failure: Failure, listener: &dyn fmt::Display, client: &dyn fmt::Display, cause: &str) {
        self.failed.fetch_add(1, Relaxed);
        let listener = listener.to_string();
        let line = |client: &dyn fmt::Display| if cause.is_empty() { client.to_string() } else { format!("{client}: {cause}") };
        let latest = || line(client);
        let on = listener.clone();
        let sum_up = move |count: u64, latest: String, seconds: u64| {
            tracing::info!(
                listener = on.as_str(),
                count,
                "{failure}: {count} more connections within {seconds} s, the last one from {latest}"
            );
        };
        if self.log.begins((listener.clone(), failure), latest, sum_up) {
            tracing::info!(listener = listener.as_str(), "{failure}, from {}", line(client));
        }
    }

    pub(in crate::server) fn under_way_now(&self) -> usize {
        self.under_way().len()
    }

    /// Completed ones, those of them that resumed a session, and failed ones.
    pub(in crate::server) fn counts(&self) -> [u64; 3] {
        [self.completed.load(Relaxed), self.resumed.load(Relaxed), self.failed.load(Relaxed)]
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeGuard<'_> {
    /// Ready when the handshake has to end, because there are too many.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for HandshakeGuard<'_> {
    fn drop(&mut self) {
        self.all.under_way().remove(&self.number);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClearText => "HTTP without TLS came to a port that speaks TLS: its clients must use `https://`",
            Self::NoTls => "something else than TLS came to a port that speaks TLS",
            Self::TooSlow => "a TLS handshake was not complete within `handshake_timeout`",
            Self::Evicted => "a TLS handshake made room for others, because `max_handshakes` is reached",
            Self::Closed => "a client closed the connection during the TLS handshake",
            Self::NoCertificate => "there is no certificate for a TLS client",
            Self::Alert => "a TLS client has refused the server, often because it does not trust its certificate",
            Self::ClientCertificate => "the certificate of a TLS client was refused, or it has shown none",
            Self::Protocol => "a TLS handshake failed",
        })
    }
}
