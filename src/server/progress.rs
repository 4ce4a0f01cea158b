//! The progress of one connection: written by the guard that reads and writes and by the service, read by the connection's task, which keeps the
//! time limits.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;

use tokio::time::Instant;

use super::connection_table::ConnectionGuard;
use super::http1::{LentFiles, WaitingHints};
use super::limits::Limits;
use super::upgrade::Decision;

/// Counters of one connection. Only the connection's own task and the tasks of its streams use them, so no memory order is needed.
pub(super) struct Progress {
    pub(super) connection: ConnectionGuard,
    /// Requests that were passed on.
    requests: AtomicU32,
    /// Responses of which the last octet was handed over.
    responses: AtomicU32,
    /// A part of a head has come while no request is under way.
    pub(super) is_in_head: AtomicBool,
    /// The socket takes no more octets at present.
    is_stalled: AtomicBool,
    /// Times that the socket took octets, and how many octets in all.
    writes: AtomicU32,
    sent: AtomicU64,
    /// The next write is tried even if the socket is not reported as writable.
    is_judged: AtomicBool,
    /// The head of the response to the current HTTP/1 request was handed over.
    pub(super) has_response: AtomicBool,
    /// The newest response ends where the connection ends (HTTP/1.0 without a length).
    pub(super) ends_by_closing: AtomicBool,
    /// The number of the request whose body is malformed; 0 for none.
    pub(super) malformed: AtomicU32,
    pub(super) upgrade: Decision,
    /// What goes from files to the socket.
    pub(super) lent: LentFiles,
    /// What is sent before the next response of HTTP/1.
    pub(super) hints: WaitingHints,
}

/// What the connection does, as far as a time limit depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request is under way. Its body and the stack have time limits of their own.
    Busy,
    /// Nothing has come since the last response. Holds the number of requests so far.
    Idle(u32),
    /// A head is coming. Holds the number of requests so far.
    Head(u32),
    /// The client takes nothing of a response. Holds the number of writes so far.
    Stalled(u32),
}

impl Progress {
    pub(super) fn new(connection: ConnectionGuard) -> Self {
        Self {
            connection,
            requests: AtomicU32::new(0),
            responses: AtomicU32::new(0),
            is_in_head: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            writes: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            is_judged: AtomicBool::new(false),
            has_response: AtomicBool::new(false),
            ends_by_closing: AtomicBool::new(false),
            malformed: AtomicU32::new(0),
            upgrade: Decision::default(),
            lent: LentFiles::default(),
            hints: WaitingHints::default(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_stalled.load(Relaxed) {
            Phase::Stalled(self.writes.load(Relaxed))
        } else if !self.is_settled() {
            Phase::Busy
        } else if self.is_in_head.load(Relaxed) {
            Phase::Head(self.requests())
        } else {
            Phase::Idle(self.requests())
        }
    }

    pub(super) fn ends_by_closing(&self) -> bool {
        self.ends_by_closing.load(Relaxed)
    }

    /// Whether every request that was passed on has its response.
    pub(super) fn is_settled(&self) -> bool {
        self.requests() == self.responses.load(Relaxed)
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Sets the number of requests that were passed on since the connection began.
    pub(super) fn set_requests(&self, requests: u32) {
        if self.requests.swap(requests, Relaxed) != requests {
            self.connection.set_busy();
        }
    }

    /// Counts a request.
    pub(super) fn begin_request(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.connection.set_busy();
    }

    /// Counts a response. Returns whether no request is left.
    pub(super) fn end_response(&self, now: Instant) -> bool {
        let responses = self.responses.fetch_add(1, Relaxed).wrapping_add(1);
        let was_last = responses == self.requests();
        if was_last {
            self.connection.set_idle(now);
        }
        was_last
    }

    /// Whether a write or a flush that goes on is to be tried again without waiting for the runtime's word, because a stall is judged.
    pub(super) fn tries_again<T>(&self, outcome: &Poll<T>) -> bool {
        outcome.is_pending() && self.is_judged.swap(false, Relaxed)
    }

    /// Notes whether a write or a flush goes on, and how many octets the socket has taken since the connection began.
    pub(super) fn note_sent<T>(&self, outcome: &Poll<T>, sent: u64) {
        self.is_stalled.store(outcome.is_pending(), Relaxed);
        if self.sent.swap(sent, Relaxed) != sent {
            self.writes.fetch_add(1, Relaxed);
        }
    }

    /// Lets the next write be tried whether or not the socket is reported as writable, because what the client takes is not reported octet by octet. Returns
    /// what was sent so far, for [`Progress::is_too_slow`] after that write.
    pub(super) fn judge_stall(&self) -> u64 {
        self.is_judged.store(true, Relaxed);
        self.sent.load(Relaxed)
    }

    /// Whether the stall goes on, and the client has taken less in its time than the least rate asks for.
    pub(super) fn is_too_slow(&self, sent_before: u64, limits: &Limits) -> bool {
        let taken = self.sent.load(Relaxed).saturating_sub(sent_before);
        self.is_stalled.load(Relaxed) && taken < limits.min_rate.saturating_mul(limits.body_timeout.as_secs()).max(1)
    }
}
