//! Admission: which request gets a thread of the app, and when.
//!
//! Requests wait here, in one bounded queue per app, and nowhere else: a desk is handed what it can start, and a few more so that it need not
//! wait for the next. Of the desks that have room, the least loaded gets the call; among equals the one used last, so that idle ones stay idle.

use std::sync::Arc;

use crate::call::{Call, Word};

/// Where calls are served: a worker process, or the threads of this process.
pub(crate) trait Desk: Send + Sync + 'static {
    /// Serves a call. The desk has room for it: its [`Seat`] says so.
    fn begin(&self, call: Call);

    /// A word about a call that was begun; nothing where it is over.
    fn tell(&self, number: u64, word: Word);
}

/// How many threads a desk has, and how many calls it is handed beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) threads: usize,
    pub(crate) ahead: usize,
}

/// The queue of one app and its desks.
pub(crate) struct Admission {}

/// A desk among those of an [`Admission`], for whoever opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeskId(pub(crate) u64);

impl Admission {
    /// Opens a desk: it is handed calls from now on.
    pub(crate) fn open(self: &Arc<Self>, desk: Arc<dyn Desk>, room: Room) -> DeskId {
        let _ = (desk, room);
        DeskId(0)
    }

    /// Hands the desk no more calls. Ready when those it has are over.
    pub(crate) async fn retire(&self, desk: DeskId) {
        let _ = desk;
    }

    /// The desk is gone with all that it had; seats of it that are dropped later are no matter.
    pub(crate) fn close(&self, desk: DeskId) {
        let _ = desk;
    }

    /// Takes calls back that a desk had not begun: they come first, in their order.
    pub(crate) fn take_back(&self, calls: Vec<Call>) {
        let _ = calls;
    }
}

/// Room at a desk, taken up by a call. Dropped, it is free, and the next call that waits gets it.
pub(crate) struct Seat {
    pub(crate) admission: Arc<Admission>,
    pub(crate) desk: DeskId,
    pub(crate) class: u32,
}
