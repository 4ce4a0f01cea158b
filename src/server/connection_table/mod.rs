//! All open connections: what the accept loop and each connection share.

mod traffic;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use ziggurat_middleware::{Place, Summary};

use super::limits::GRACE;
use super::request_metrics::{EndedRequest, RequestMetrics};
use super::transport::Handshakes;

pub use traffic::Traffic;

/// The open connections of a server.
pub(super) struct ConnectionTable {
    opened: Instant,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    /// Clients wait for room: connections end when they become idle.
    crowded: AtomicBool,
    /// The server drains: connections end after their next response.
    closing: AtomicBool,
    /// Connections so far.
    accepted: AtomicU64,
    /// Requests of connections that have ended.
    requests: AtomicU64,
    metrics: RequestMetrics,
    /// Upgraded connections and streams that are still open.
    tunnels: AtomicUsize,
    /// Clients that were told that there is no room.
    refused: AtomicU64,
    handshakes: Handshakes,
    /// Refused requests, by their reason.
    refusals: Summary<&'static str>,
}

/// A connection's entry in the table, removed when this is dropped.
pub(super) struct ConnectionGuard {
    table: Arc<ConnectionTable>,
    number: u64,
    entry: Arc<Entry>,
}

struct Entry {
    waker: AtomicWaker,
    closing: AtomicBool,
    /// Milliseconds since the table was made, at which the connection became idle; [`BUSY`] while it is not.
    idle_since: AtomicU64,
    /// Requests so far. Each connection has its own counter, so that connections do not contend for one.
    requests: AtomicU64,
    /// Those of them that are over.
    ended: AtomicU64,
    /// The generation of the current HTTP/1 request, or of the last one; 0 before the first.
    generation: AtomicU64,
    /// The generation whose requests are to be cut off; 0 for none.
    cut: AtomicU64,
    /// Like `idle_since`, for the body of a request that the server waits for; [`BUSY`] while there is none. And its octets so far.
    upload_since: AtomicU64,
    uploaded: AtomicU64,
    /// The connection makes room for others.
    evicted: AtomicBool,
}

const BUSY: u64 = u64::MAX;

/// How many milliseconds an upload may take before it has to make room for others.
const UPLOAD_GRACE: u64 = 5_000;

impl ConnectionTable {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            entries: Mutex::default(),
            crowded: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            metrics: RequestMetrics::default(),
            tunnels: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            handshakes: Handshakes::default(),
            refusals: Summary::default(),
        }
    }

    /// Adds a connection under a number that no other has.
    pub(super) fn insert(self: &Arc<Self>, number: u64) -> ConnectionGuard {
        let entry = Arc::new(Entry {
            waker: AtomicWaker::new(),
            closing: AtomicBool::new(self.closing.load(Ordering::Relaxed)),
            idle_since: AtomicU64::new(self.now()),
            requests: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            upload_since: AtomicU64::new(BUSY),
            uploaded: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
        });
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.entries().insert(number, Arc::clone(&entry));
        ConnectionGuard { table: Arc::clone(self), number, entry }
    }

    /// Asks all connections, present and future, to close when they are idle.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        for entry in self.entries().values() {
            entry.close();
        }
    }

    /// Says how many clients wait for a connection to end. Asks as many connections to close, those that have been idle longest, or else ends the one whose upload is
    /// the slowest.
    pub(super) fn make_room(&self, waiting: usize) {
        let is_crowded = waiting > 0;
        if self.crowded.load(Ordering::Relaxed) != is_crowded {
            self.crowded.store(is_crowded, Ordering::Relaxed);
        }
        if !is_crowded {
            return;
        }
        let entries = self.entries();
        let (leaving, mut idle): (Vec<_>, Vec<_>) =
            entries.values().filter_map(|entry| Some((entry.idle_since()?, entry))).partition(|(_, entry)| entry.is_asked());
        let wanted = waiting.saturating_sub(leaving.len()).min(idle.len());
        if wanted > 0 {
            let now = self.now();
            idle.select_nth_unstable_by_key(wanted - 1, |(since, entry)| (entry.is_fresh(*since, now), *since));
            idle[..wanted].iter().for_each(|(_, entry)| entry.close());
        }
        if !idle.is_empty() || !leaving.is_empty() || entries.values().any(|entry| entry.evicted.load(Ordering::Relaxed)) {
            return;
        }
        let now = self.now();
        let uploads = entries.values().filter_map(|entry| Some((entry, entry.upload_rate(now)?)));
        if let Some((entry, _)) = uploads.min_by_key(|(_, rate)| *rate) {
            entry.evicted.store(true, Ordering::Release);
            entry.waker.wake();
        }
    }

    /// Cuts off the HTTP/1 requests and the tunnels of a generation.
    pub(super) fn cut(&self, generation: u64) {
        for entry in self.entries().values().filter(|entry| entry.generation.load(Ordering::Acquire) == generation) {
            entry.cut(generation);
        }
    }

    /// Cuts off the HTTP/1 requests and the tunnels of all generations.
    pub(super) fn cut_all(&self) {
        for entry in self.entries().values() {
            entry.cut(entry.generation.load(Ordering::Acquire));
        }
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.entries().len()
    }

    /// Counts a client that gets a 503 because there is no room.
    pub(super) fn count_refused_client(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.metrics.count(0, None, &EndedRequest::refused(StatusCode::SERVICE_UNAVAILABLE));
    }

    /// TLS handshakes under way, those in QUIC included.
    pub(super) fn handshakes_under_way(&self) -> usize {
        self.handshakes.under_way_now()
    }

    fn now(&self) -> u64 {
        self.milliseconds(Instant::now())
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from((now - self.opened).as_millis()).unwrap_or(BUSY - 1)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Since when it is idle, if it is.
    fn idle_since(&self) -> Option<u64> {
        Some(self.idle_since.load(Ordering::Relaxed)).filter(|since| *since != BUSY)
    }

    /// Whether it is about to send its first request.
    fn is_fresh(&self, idle_since: u64, now: u64) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && Duration::from_millis(now.saturating_sub(idle_since)) < GRACE
    }

    /// Whether it was asked to close.
    fn is_asked(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// The octets per second of an upload, if it has had some time.
    fn upload_rate(&self, now: u64) -> Option<u64> {
        let since = self.upload_since.load(Ordering::Relaxed);
        let time = now.checked_sub(since).filter(|time| *time >= UPLOAD_GRACE)?;
        Some(self.uploaded.load(Ordering::Relaxed).saturating_mul(1_000) / time)
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn cut(&self, generation: u64) {
        self.cut.store(generation, Ordering::Release);
        self.waker.wake();
    }
}

impl ConnectionGuard {
    /// Whether the connection is to close as soon as it is idle. Otherwise `waker` is woken when that changes.
    pub(super) fn should_close(&self, waker: &Waker) -> bool {
        self.entry.waker.register(waker);
        self.entry.closing.load(Ordering::Acquire)
    }

    /// Ready when the connection, accepted at `accepted`, is to end before it has sent a request, because others wait. At a drain, what has begun goes on.
    pub(super) async fn makes_room(&self, accepted: Instant) {
        sleep_until(accepted + GRACE).await;
        poll_fn(|cx| if self.should_close(cx.waker()) && !self.is_closing() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether the server drains.
    pub(super) fn is_closing(&self) -> bool {
        self.table.closing.load(Ordering::Relaxed)
    }

    /// The TLS handshakes of the server.
    pub(super) fn handshakes(&self) -> &Handshakes {
        &self.table.handshakes
    }

    /// The log of refused requests.
    pub(super) fn refusals(&self) -> &Summary<&'static str> {
        &self.table.refusals
    }

    /// Wakes the connection's task.
    pub(super) fn wake(&self) {
        self.entry.waker.wake();
    }

    /// Whether the next response is to be the connection's last.
    pub(super) fn is_last(&self) -> bool {
        self.table.crowded.load(Ordering::Relaxed) || self.entry.closing.load(Ordering::Acquire)
    }

    /// Counts a request that enters the stack.
    pub(super) fn count_request(&self) {
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a request that has entered the stack.
    pub(super) fn count_end(&self, answered_by: Option<&Place>, ended: &EndedRequest) {
        self.entry.ended.fetch_add(1, Ordering::Release);
        self.table.metrics.count(self.number, answered_by, ended);
    }

    /// Counts a request that the server refuses.
    pub(super) fn count_refusal(&self, refused: &EndedRequest) {
        self.table.metrics.count(self.number, None, refused);
    }

    /// Notes that the connection's only request under way is inside this generation.
    pub(super) fn enter(&self, generation: u64) {
        self.entry.generation.store(generation, Ordering::Release);
    }

    /// Whether the request under way is to be cut off. The waker of [`ConnectionGuard::should_close`] is woken when that changes.
    pub(super) fn is_cut(&self) -> bool {
        let cut = self.entry.cut.load(Ordering::Acquire);
        cut != 0 && cut == self.entry.generation.load(Ordering::Relaxed)
    }

    /// Whether the connection is to end at once, because others wait and its upload is slow. The waker of [`ConnectionGuard::should_close`] is woken when that
    /// changes.
    pub(super) fn is_evicted(&self) -> bool {
        self.entry.evicted.load(Ordering::Acquire)
    }

    /// Notes that the server waits for the body of a request.
    pub(super) fn begin_upload(&self) {
        self.entry.uploaded.store(0, Ordering::Relaxed);
        self.entry.upload_since.store(self.table.now(), Ordering::Relaxed);
    }

    /// Notes octets of that body.
    pub(super) fn count_upload(&self, octets: u64) {
        self.entry.uploaded.fetch_add(octets, Ordering::Relaxed);
    }

    /// Notes that no body is waited for.
    pub(super) fn end_upload(&self) {
        self.entry.upload_since.store(BUSY, Ordering::Relaxed);
    }

    /// Notes that no request is under way since `now`.
    pub(super) fn set_idle(&self, now: Instant) {
        self.entry.idle_since.store(self.table.milliseconds(now), Ordering::Relaxed);
    }

    /// Notes that a request is under way.
    pub(super) fn set_busy(&self) {
        self.entry.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// Counts an upgraded connection or stream until what is returned is dropped.
    pub(super) fn count_tunnel(&self) -> TunnelCount {
        self.table.tunnels.fetch_add(1, Ordering::Relaxed);
        TunnelCount(Arc::clone(&self.table))
    }
}

/// An upgraded connection or stream that is counted.
pub(super) struct TunnelCount(Arc<ConnectionTable>);

impl Drop for TunnelCount {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        entries.remove(&self.number);
        // Under the lock, so that a sum of all requests misses none.
        self.table.requests.fetch_add(self.entry.requests.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
