//! Detects clients that keep the server busy with HTTP/2 frames that do nothing.
//!
//! h2 limits streams that are reset at once, header lists, CONTINUATION frames and empty DATA frames, but accepts any number of PING, SETTINGS, PRIORITY
//! and unknown frames.

use std::io;
use std::task::Poll;

use crate::server::flood::FloodBudget;

const PREFACE_SIZE: usize = 24;
const HEADER_SIZE: usize = 9;

pub(super) struct FloodDetector {
    /// Octets to skip before the next frame header.
    skip: usize,
    header: [u8; HEADER_SIZE],
    filled: usize,
    budget: FloodBudget,
}

impl FloodDetector {
    pub(super) fn new() -> Self {
        Self { skip: PREFACE_SIZE, header: [0; HEADER_SIZE], filled: 0, budget: FloodBudget::new() }
    }

    /// Reads on in what the client sends. Returns whether it is a flood.
    pub(super) fn is_flooded_by(&mut self, mut octets: &[u8]) -> bool {
        while !octets.is_empty() {
            let skipped = self.skip.min(octets.len());
            self.skip -= skipped;
            octets = &octets[skipped..];
            let taken = (HEADER_SIZE - self.filled).min(octets.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&octets[..taken]);
            self.filled += taken;
            octets = &octets[taken..];
            if self.filled == HEADER_SIZE {
                self.filled = 0;
                if self.frame() && !self.budget.spend() {
                    return true;
                }
            }
        }
        false
    }

    /// Reads a frame header (RFC 9113 section 4.1). Returns whether the frame does nothing.
    fn frame(&mut self) -> bool {
        const END_STREAM: u8 = 1;
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            DATA => self.skip == 0 && flags & END_STREAM == 0,
            HEADERS => false,
            _ => true,
        }
    }

    /// Counts what the client receives, because it acknowledges that with frames of its own.
    pub(super) fn note_write(&mut self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = outcome {
            self.budget.note_written(*written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::flood::{BUDGET, OCTETS_PER_FRAME, WINDOW};

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const DATA: [u8; 11] = [0, 0, 2, 0, 0, 0, 0, 0, 1, 9, 9];

    #[tokio::test(start_paused = true)]
    async fn pings_are_limited_per_window_however_they_are_cut() {
        for size in [1, 7, 17, 1_000] {
            let mut flood = FloodDetector::new();
            assert!(!flood.is_flooded_by(&[0; PREFACE_SIZE]));
            let pings = PING.repeat(BUDGET as usize);
            assert!(!pings.chunks(size).any(|piece| flood.is_flooded_by(piece)));
            assert!(flood.is_flooded_by(&PING));
            tokio::time::advance(WINDOW).await;
            let mut flood = FloodDetector { skip: 0, filled: 0, ..flood };
            assert!(!flood.is_flooded_by(&PING));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_no_flood_and_received_octets_add_to_the_budget() {
        let mut flood = FloodDetector::new();
        assert!(!flood.is_flooded_by(&[0; PREFACE_SIZE]));
        assert!(!flood.is_flooded_by(&DATA.repeat(BUDGET as usize * 2)));
        for _ in 0..BUDGET * 2 {
            assert!(!flood.is_flooded_by(&PING));
            flood.note_write(&Poll::Ready(Ok(OCTETS_PER_FRAME)));
        }
    }
}
