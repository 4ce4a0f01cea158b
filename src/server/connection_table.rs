//! All open connections: what the accept loop and each connection share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// The open connections of a server.
pub(super) struct ConnectionTable {
    opened: Instant,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    /// Clients wait because `max_connections` is reached: connections end when they become idle.
    crowded: AtomicBool,
    /// The server drains: connections end after their next response.
    closing: AtomicBool,
    /// Connections so far.
    accepted: AtomicU64,
    /// Requests of connections that have ended.
    requests: AtomicU64,
    /// Upgraded connections and streams that are still open.
    tunnels: AtomicUsize,
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
    /// The generation of the current HTTP/1 request, or of the last one; 0 before the first.
    generation: AtomicU64,
    /// The generation whose requests are to be cut off; 0 for none.
    cut: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl ConnectionTable {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            entries: Mutex::default(),
            crowded: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            tunnels: AtomicUsize::new(0),
        }
    }

    /// Adds a connection under a number that no other has.
    pub(super) fn insert(self: &Arc<Self>, number: u64) -> ConnectionGuard {
        let entry = Arc::new(Entry {
            waker: AtomicWaker::new(),
            closing: AtomicBool::new(self.closing.load(Ordering::Relaxed)),
            idle_since: AtomicU64::new(self.now()),
            requests: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            cut: AtomicU64::new(0),
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

    /// Sets whether clients wait for a connection to end. If so, asks the connection that has been idle longest to close.
    pub(super) fn set_crowded(&self, crowded: bool) {
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
        if crowded {
            let entries = self.entries();
            let idle = entries.values().filter(|entry| entry.idle_since.load(Ordering::Relaxed) != BUSY);
            if let Some(entry) = idle.min_by_key(|entry| entry.idle_since.load(Ordering::Relaxed)) {
                entry.close();
            }
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

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Figures about a server's connections.
#[derive(Clone)]
pub struct Traffic(pub(super) Arc<ConnectionTable>);

impl Traffic {
    /// Open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.entries().len()
    }

    /// Open connections and streams that were upgraded, to WebSockets for instance.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels.load(Ordering::Relaxed)
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
}

impl Entry {
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

    /// Whether the server drains.
    pub(super) fn is_closing(&self) -> bool {
        self.table.closing.load(Ordering::Relaxed)
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

    /// Notes that the connection's only request under way is inside this generation.
    pub(super) fn enter(&self, generation: u64) {
        self.entry.generation.store(generation, Ordering::Release);
    }

    /// Whether the request under way is to be cut off. The waker of [`ConnectionGuard::should_close`] is woken when that changes.
    pub(super) fn is_cut(&self) -> bool {
        let cut = self.entry.cut.load(Ordering::Acquire);
        cut != 0 && cut == self.entry.generation.load(Ordering::Relaxed)
    }

    /// Notes that no request is under way.
    pub(super) fn set_idle(&self) {
        self.entry.idle_since.store(self.table.now(), Ordering::Relaxed);
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
