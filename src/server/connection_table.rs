//! What the accept loop and a connection know of each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// All open connections.
pub(super) struct ConnectionTable {
    opened: Instant,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    /// Every connection is wanted by somebody: those that become idle shall end.
    crowded: AtomicBool,
    /// Those that still come in shall end after one request.
    closing: AtomicBool,
    /// Connections so far.
    entered: AtomicU64,
    /// Requests of connections that have ended.
    requests: AtomicU64,
}

/// One connection's entry; leaves the table when dropped.
pub(super) struct ConnectionGuard {
    table: Arc<ConnectionTable>,
    number: u64,
    entry: Arc<Entry>,
}

struct Entry {
    waker: AtomicWaker,
    closing: AtomicBool,
    /// Milliseconds since the table opened, at which the connection became idle; [`BUSY`] while it is not.
    idle_since: AtomicU64,
    /// Requests so far. Each connection counts its own, so that they do not contend for one counter.
    requests: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl ConnectionTable {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            entries: Mutex::default(),
            crowded: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            entered: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// Takes in the connection of this number, which nobody else has.
    pub(super) fn enter(self: &Arc<Self>, number: u64) -> ConnectionGuard {
        let closing = AtomicBool::new(self.closing.load(Ordering::Relaxed));
        let (idle_since, requests) = (AtomicU64::new(self.now()), AtomicU64::new(0));
        let entry = Arc::new(Entry { waker: AtomicWaker::new(), closing, idle_since, requests });
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.entries().insert(number, Arc::clone(&entry));
        ConnectionGuard { table: Arc::clone(self), number, entry }
    }

    /// Asks every connection to end after what it is doing, those that are still to come included.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        for entry in self.entries().values() {
            entry.ask_to_close();
        }
    }

    /// Says whether somebody waits for a connection to end. If so, the connection idle the longest is asked to close.
    pub(super) fn set_crowded(&self, crowded: bool) {
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
        if crowded {
            let entries = self.entries();
            let idle = entries.values().filter(|entry| entry.idle_since.load(Ordering::Relaxed) != BUSY);
            if let Some(entry) = idle.min_by_key(|entry| entry.idle_since.load(Ordering::Relaxed)) {
                entry.ask_to_close();
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes on at a server's connections, for whoever watches it.
#[derive(Clone)]
pub struct Traffic(pub(super) Arc<ConnectionTable>);

impl Traffic {
    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.entries().len()
    }

    /// Connections that were accepted, since the server was started.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.entered.load(Ordering::Relaxed)
    }

    /// Requests that entered the stack, since the server was started.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let entries = self.0.entries();
        let open: u64 = entries.values().map(|entry| entry.requests.load(Ordering::Relaxed)).sum();
        open + self.0.requests.load(Ordering::Relaxed)
    }
}

impl Entry {
    fn ask_to_close(&self) {
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl ConnectionGuard {
    /// Whether the connection shall end as soon as it is idle. Otherwise `waker` is woken when that changes.
    pub(super) fn should_close(&self, waker: &Waker) -> bool {
        self.entry.waker.register(waker);
        self.entry.closing.load(Ordering::Acquire)
    }

    /// Whether all connections are asked to close.
    pub(super) fn is_closing(&self) -> bool {
        self.table.closing.load(Ordering::Relaxed)
    }

    /// Wakes the connection.
    pub(super) fn wake(&self) {
        self.entry.waker.wake();
    }

    /// Whether the answer at hand shall be the connection's last.
    pub(super) fn is_last(&self) -> bool {
        self.table.crowded.load(Ordering::Relaxed) || self.entry.closing.load(Ordering::Acquire)
    }

    /// Counts a request.
    pub(super) fn count(&self) {
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that no request is in progress.
    pub(super) fn idle(&self) {
        self.entry.idle_since.store(self.table.now(), Ordering::Relaxed);
    }

    /// Notes that a request is in progress.
    pub(super) fn busy(&self) {
        self.entry.idle_since.store(BUSY, Ordering::Relaxed);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        entries.remove(&self.number);
        // Under the lock, so that nobody who adds them up misses any.
        self.table.requests.fetch_add(self.entry.requests.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
