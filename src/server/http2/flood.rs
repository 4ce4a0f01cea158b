//! Detects clients that keep the server busy with HTTP/2 frames that do nothing.
//!
//! h2 limits streams that are reset at once, header lists, CONTINUATION frames and empty DATA frames, but accepts any number of PING, SETTINGS, PRIORITY
//! and unknown frames.

use super::PREFACE;
use crate::http2_frames::{DATA, END_STREAM, FrameHeader, FrameHeaders, HEADERS};
use crate::server::flood::FloodBudget;

/// What a client may send for each HEADERS and DATA frame that it receives: a WINDOW_UPDATE for the stream and one for the connection, a PING to measure the
/// way, and a change of the priority.
pub(super) const PER_FRAME: u32 = 4;

pub(super) struct FloodDetector {
    received: FrameHeaders,
    sent: FrameHeaders,
    budget: FloodBudget,
}

impl FloodDetector {
    pub(super) fn new() -> Self {
        Self { received: FrameHeaders::after(PREFACE.len()), sent: FrameHeaders::after(0), budget: FloodBudget::new() }
    }

    /// Reads on in what the client sends. Returns whether it is a flood.
    pub(super) fn is_flooded_by(&mut self, mut octets: &[u8]) -> bool {
        while !octets.is_empty() {
            let (frame, read) = self.received.next(octets);
            if frame.is_some_and(does_nothing) && !self.budget.spend() {
                return true;
            }
            octets = &octets[read..];
        }
        false
    }

    /// Reads on in what the client receives, because it acknowledges that with frames of its own.
    pub(super) fn note_sent(&mut self, mut octets: &[u8]) {
        self.budget.note_written(octets.len());
        while !octets.is_empty() {
            let (frame, read) = self.sent.next(octets);
            // Without the answers to what does nothing, which would pay for themselves.
            if frame.is_some_and(|frame| matches!(frame.kind, HEADERS | DATA)) {
                self.budget.add(PER_FRAME);
            }
            octets = &octets[read..];
        }
    }
}

const fn does_nothing(frame: FrameHeader) -> bool {
    match frame.kind {
        DATA => frame.length == 0 && frame.flags & END_STREAM == 0,
        HEADERS => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::flood::{BUDGET, OCTETS_PER_FRAME, WINDOW};

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const OCTETS: [u8; 11] = [0, 0, 2, 0, 0, 0, 0, 0, 1, 9, 9];

    #[tokio::test(start_paused = true)]
    async fn pings_are_limited_per_window_however_they_are_cut() {
        for size in [1, 7, 17, 1_000] {
            let mut flood = FloodDetector::new();
            assert!(!flood.is_flooded_by(PREFACE));
            let pings = PING.repeat(BUDGET as usize);
            assert!(!pings.chunks(size).any(|piece| flood.is_flooded_by(piece)));
            assert!(flood.is_flooded_by(&PING));
            tokio::time::advance(WINDOW).await;
            let mut flood = FloodDetector { received: FrameHeaders::after(0), ..flood };
            assert!(!flood.is_flooded_by(&PING));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_no_flood_and_received_octets_add_to_the_budget() {
        let mut flood = FloodDetector::new();
        assert!(!flood.is_flooded_by(PREFACE));
        assert!(!flood.is_flooded_by(&OCTETS.repeat(BUDGET as usize * 2)));
        // One frame that never ends.
        flood.note_sent(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
        for _ in 0..BUDGET * 2 {
            assert!(!flood.is_flooded_by(&PING));
            flood.note_sent(&[0; OCTETS_PER_FRAME]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_frame_of_a_response_may_be_acknowledged_and_answers_to_pings_may_not() {
        const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        const RESPONSE: [u8; 22] = [0, 0, 2, 1, 4, 0, 0, 0, 1, 0x88, 0x87, 0, 0, 2, 0, 1, 0, 0, 0, 1, 9, 9];
        for size in [1, 5, 22] {
            let mut flood = FloodDetector::new();
            assert!(!flood.is_flooded_by(PREFACE));
            for _ in 0..BUDGET {
                assert!(!flood.is_flooded_by(&WINDOW_UPDATE.repeat(2 * PER_FRAME as usize)));
                RESPONSE.chunks(size).for_each(|piece| flood.note_sent(piece));
            }
            let mut answered = 0;
            while !flood.is_flooded_by(&PING) {
                answered += 1;
                flood.note_sent(&PING);
            }
            // One for each KiB that the answers have.
            assert!(answered <= BUDGET + BUDGET / 50, "{answered}");
        }
    }
}
