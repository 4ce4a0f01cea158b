//! Clients that keep the server busy with frames that do nothing.

use std::time::Duration;

use tokio::time::Instant;

/// A client may send `BUDGET` frames that do nothing in each `WINDOW`, and more for what it receives: one for each KiB, and over HTTP/2 some for each frame of a response.
pub(super) const BUDGET: u32 = 1_000;
pub(super) const WINDOW: Duration = Duration::from_secs(10);
pub(super) const OCTETS_PER_FRAME: usize = 1_024;

/// How many frames that do nothing a client may still send.
pub(super) struct FloodBudget {
    left: u32,
    since: Instant,
    written: usize,
}

impl FloodBudget {
    pub(super) fn new() -> Self {
        Self { left: BUDGET, since: Instant::now(), written: 0 }
    }

    /// Counts a frame that does nothing. Returns whether the client may send it.
    pub(super) fn spend(&mut self) -> bool {
        if self.left == 0 {
            if self.since.elapsed() < WINDOW {
                return false;
            }
            self.left = BUDGET;
            self.since = Instant::now();
        }
        self.left -= 1;
        true
    }

    /// Counts octets that the client receives, because it acknowledges them with frames of its own.
    pub(super) fn note_written(&mut self, octets: usize) {
        self.written += octets;
        let frames = u32::try_from(self.written / OCTETS_PER_FRAME).unwrap_or(BUDGET);
        self.written %= OCTETS_PER_FRAME;
        self.add(frames);
    }

    /// Lets the client send so many more, up to the budget of a window.
    pub(super) fn add(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BUDGET);
    }
}
