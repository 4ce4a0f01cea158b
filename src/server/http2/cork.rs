//! Gathers what is written in one turn of a connection's task.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// How many requests of one turn are answered in it. Further ones give way to other connections.
const AT_ONCE: u32 = 16;

/// Holds writes back while requests are answered, so that their responses leave in one write: h2 tries to write after each request that it hands over.
///
/// Only the connection's own task uses it, so no memory order is needed.
#[derive(Default)]
pub(super) struct Cork {
    /// Requests in this turn. While there are some, writes are held back.
    requests: AtomicU32,
    /// A write was held back.
    holds: AtomicBool,
}

impl Cork {
    /// Holds back every write from now on, because a request has come.
    pub(super) fn close(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Whether the newest request may be answered in this turn.
    pub(super) fn has_room(&self) -> bool {
        self.requests.load(Relaxed) <= AT_ONCE
    }

    /// Whether a write is held back. Nobody is woken for it: the task calls [`Cork::open`] at the end of its turn.
    pub(super) fn holds_back(&self) -> bool {
        let is_closed = self.requests.load(Relaxed) > 0;
        if is_closed {
            self.holds.store(true, Relaxed);
        }
        is_closed
    }

    /// Lets writes pass. Returns whether one was held back, and is to be tried again.
    pub(super) fn open(&self) -> bool {
        self.requests.store(0, Relaxed);
        self.holds.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_behind_a_request_is_held_back() {
        let cork = Cork::default();
        assert!(!cork.holds_back() && !cork.open());
        cork.close();
        assert!(cork.holds_back() && cork.open());
        assert!(!cork.holds_back() && !cork.open());
        cork.close();
        assert!(!cork.open());
    }

    #[test]
    fn a_turn_answers_so_many_requests_and_no_more() {
        let cork = Cork::default();
        for _ in 0..AT_ONCE {
            cork.close();
            assert!(cork.has_room());
        }
        cork.close();
        assert!(!cork.has_room());
        cork.open();
        cork.close();
        assert!(cork.has_room());
    }
}
