//! Gathers what is written in one turn of a connection's task.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

use tokio::sync::Notify;

/// How many requests of one turn are answered in it. Further ones give way to other connections.
const AT_ONCE: u32 = 16;

/// Holds writes back while requests are answered, so that their responses leave in one write: h2 tries to write after each request that it hands over.
///
/// Only the connection's own task holds writes back, so that needs no memory order. Tasks of streams wait for the ends of its turns.
#[derive(Default)]
pub(super) struct Cork {
    /// Requests in this turn. While there are some, writes are held back.
    requests: AtomicU32,
    /// A write was held back.
    holds: AtomicBool,
    /// Turns of the task that have begun, and the newest one that has ended.
    begun: AtomicU32,
    ended: AtomicU32,
    has_ended: Notify,
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

    /// A turn of the task begins.
    pub(super) fn begin_turn(&self) {
        self.begun.fetch_add(1, SeqCst);
    }

    /// The turn has ended, and what was queued before it began is written as far as the client takes it.
    pub(super) fn end_turn(&self) {
        self.ended.store(self.begun.load(SeqCst), SeqCst);
        self.has_ended.notify_waiters();
    }

    /// The number of the newest turn.
    pub(super) fn turn(&self) -> u32 {
        self.begun.load(SeqCst)
    }

    /// Waits for the end of a turn after this one.
    pub(super) async fn after(self: Arc<Self>, turn: u32) {
        loop {
            let has_ended = self.has_ended.notified();
            // Numbers wrap around.
            if (1..=u32::MAX / 2).contains(&self.ended.load(SeqCst).wrapping_sub(turn)) {
                return;
            }
            has_ended.await;
        }
    }

    /// Lets writes pass. Returns whether one was held back, and is to be tried again.
    pub(super) fn open(&self) -> bool {
        self.requests.store(0, Relaxed);
        self.holds.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

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

    #[tokio::test]
    async fn what_was_queued_waits_for_the_end_of_a_turn_that_began_afterwards() {
        let cork = Arc::<Cork>::default();
        cork.begin_turn();
        let mut waiting = Box::pin(Arc::clone(&cork).after(cork.turn()));
        assert!(poll!(&mut waiting).is_pending());
        cork.end_turn();
        assert!(poll!(&mut waiting).is_pending());
        cork.begin_turn();
        assert!(poll!(&mut waiting).is_pending());
        cork.end_turn();
        assert!(poll!(&mut waiting).is_ready());
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
