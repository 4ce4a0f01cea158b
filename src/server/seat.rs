//! What the accept loop and a connection know of each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// All open connections.
pub(super) struct Hall {
    opened: Instant,
    seats: Mutex<HashMap<u64, Arc<Place>>>,
    /// Every connection is wanted by somebody: those that become idle shall end.
    crowded: AtomicBool,
    /// Those that still come in shall end after one request.
    closing: AtomicBool,
    /// Connections so far.
    entered: AtomicU64,
    /// Requests of connections that have ended.
    requests: AtomicU64,
}

/// One connection's entry; leaves the hall when dropped.
pub(super) struct Seat {
    hall: Arc<Hall>,
    number: u64,
    place: Arc<Place>,
}

struct Place {
    waker: AtomicWaker,
    leave: AtomicBool,
    /// Milliseconds since the hall opened, at which the connection became idle; [`BUSY`] while it is not.
    idle_since: AtomicU64,
    /// Requests so far. Each connection counts its own, so that they do not contend for one counter.
    requests: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl Hall {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            seats: Mutex::default(),
            crowded: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            entered: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// Takes in the connection of this number, which nobody else has.
    pub(super) fn enter(self: &Arc<Self>, number: u64) -> Seat {
        let leave = AtomicBool::new(self.closing.load(Ordering::Relaxed));
        let (idle_since, requests) = (AtomicU64::new(self.now()), AtomicU64::new(0));
        let place = Arc::new(Place { waker: AtomicWaker::new(), leave, idle_since, requests });
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.seats().insert(number, Arc::clone(&place));
        Seat { hall: Arc::clone(self), number, place }
    }

    /// Asks every connection to end after what it is doing, those that are still to come included.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        for place in self.seats().values() {
            place.ask_to_leave();
        }
    }

    /// Says whether somebody waits for a seat. If so, the connection idle the longest is asked to leave.
    pub(super) fn set_crowded(&self, crowded: bool) {
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
        if crowded {
            let seats = self.seats();
            let idle = seats.values().filter(|place| place.idle_since.load(Ordering::Relaxed) != BUSY);
            if let Some(place) = idle.min_by_key(|place| place.idle_since.load(Ordering::Relaxed)) {
                place.ask_to_leave();
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Place>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes on at a server's connections, for whoever watches it.
#[derive(Clone)]
pub struct Traffic(pub(super) Arc<Hall>);

impl Traffic {
    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.seats().len()
    }

    /// Connections that were accepted, since the server was started.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.entered.load(Ordering::Relaxed)
    }

    /// Requests that entered the stack, since the server was started.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let seats = self.0.seats();
        let open: u64 = seats.values().map(|place| place.requests.load(Ordering::Relaxed)).sum();
        open + self.0.requests.load(Ordering::Relaxed)
    }
}

impl Place {
    fn ask_to_leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Seat {
    /// Whether the connection shall end as soon as it is idle. Otherwise `waker` is woken when that changes.
    pub(super) fn shall_leave(&self, waker: &Waker) -> bool {
        self.place.waker.register(waker);
        self.place.leave.load(Ordering::Acquire)
    }

    /// Whether all connections shall leave.
    pub(super) fn is_closing(&self) -> bool {
        self.hall.closing.load(Ordering::Relaxed)
    }

    /// Wakes the connection.
    pub(super) fn wake(&self) {
        self.place.waker.wake();
    }

    /// Whether the answer at hand shall be the connection's last.
    pub(super) fn is_last(&self) -> bool {
        self.hall.crowded.load(Ordering::Relaxed) || self.place.leave.load(Ordering::Acquire)
    }

    /// Counts a request.
    pub(super) fn count(&self) {
        self.place.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that no request is in progress.
    pub(super) fn idle(&self) {
        self.place.idle_since.store(self.hall.now(), Ordering::Relaxed);
    }

    /// Notes that a request is in progress.
    pub(super) fn busy(&self) {
        self.place.idle_since.store(BUSY, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.hall.seats();
        seats.remove(&self.number);
        // Under the lock, so that nobody who adds them up misses any.
        self.hall.requests.fetch_add(self.place.requests.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
