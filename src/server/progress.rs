//! How far a connection has come, as its parts tell each other: the guard that reads and writes, the service that answers, and the
//! connection's task, which keeps the time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use super::connection_table::ConnectionGuard;

/// Counters of one connection. All of them are written and read by the connection's own task (and by those of its streams), so that no
/// order between them has to be kept.
pub(super) struct Progress {
    pub(super) connection: ConnectionGuard,
    /// Requests handed on, counted by who reads.
    asked: AtomicU32,
    /// Answers of which the last octet was given away, counted by who answers.
    answered: AtomicU32,
    /// What of a head has come while no request is in progress.
    pub(super) is_in_head: AtomicBool,
    /// The socket takes nothing more at present.
    is_stalled: AtomicBool,
    /// Times that the socket took something.
    writes: AtomicU32,
    /// The newest answer ends where the connection ends (HTTP/1.0 without a length).
    pub(super) ends_by_closing: AtomicBool,
    /// The request whose body turned out to be malformed; 0 for none.
    pub(super) broken: AtomicU32,
}

/// What the connection is doing, as far as the time for it is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request is in progress: others keep the time.
    Busy,
    /// Nothing has come since the last answer. After how many requests.
    Idle(u32),
    /// A head is coming. After how many requests.
    Head(u32),
    /// The client takes nothing of an answer. After how many writes.
    Stalled(u32),
}

impl Progress {
    pub(super) fn new(connection: ConnectionGuard) -> Self {
        Self {
            connection,
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            is_in_head: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            writes: AtomicU32::new(0),
            ends_by_closing: AtomicBool::new(false),
            broken: AtomicU32::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_stalled.load(Relaxed) {
            Phase::Stalled(self.writes.load(Relaxed))
        } else if !self.is_settled() {
            Phase::Busy
        } else if self.is_in_head.load(Relaxed) {
            Phase::Head(self.asked())
        } else {
            Phase::Idle(self.asked())
        }
    }

    pub(super) fn ends_by_closing(&self) -> bool {
        self.ends_by_closing.load(Relaxed)
    }

    /// Whether every request handed on has been answered.
    pub(super) fn is_settled(&self) -> bool {
        self.asked() == self.answered.load(Relaxed)
    }

    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    /// Notes that so many requests were handed on since the connection began.
    pub(super) fn ask(&self, asked: u32) {
        if self.asked.swap(asked, Relaxed) != asked {
            self.connection.busy();
        }
    }

    /// Notes one more request.
    pub(super) fn begin_request(&self) {
        self.asked.fetch_add(1, Relaxed);
        self.connection.busy();
    }

    /// Notes one more answer, and gives whether no request is left.
    pub(super) fn answer(&self) -> bool {
        let answered = self.answered.fetch_add(1, Relaxed).wrapping_add(1);
        let was_last = answered == self.asked();
        if was_last {
            self.connection.idle();
        }
        was_last
    }

    /// Notes whether the socket took something.
    pub(super) fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.is_stalled.store(outcome.is_pending(), Relaxed);
        if outcome.is_ready() {
            self.writes.fetch_add(1, Relaxed);
        }
        outcome
    }
}
