//! Frames that wait to be written to a worker.

use std::io::IoSlice;

use bytes::Bytes;

use super::frame::{ToWorker, put_request_body_head};

/// Payloads smaller than this are copied between the frames, which costs less than tracking them.
const COPIED: usize = 16 * 1024;

/// Consecutive frames. Large payloads are kept apart instead of copied.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    octets: Vec<u8>,
    /// Payloads, each with its position in `octets`.
    lent: Vec<(usize, Bytes)>,
}

impl WriteBuffer {
    /// Appends a frame.
    pub(crate) fn push(&mut self, order: &ToWorker) {
        match order {
            ToWorker::Body(number, payload) if payload.len() >= COPIED => {
                put_request_body_head(&mut self.octets, *number, payload.len());
                self.lent.push((self.octets.len(), payload.clone()));
            }
            order => order.put(&mut self.octets),
        }
    }

    /// The buffer, to append frames without a large payload.
    pub(crate) const fn octets(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Everything, in order.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.lent.len() + 1);
        let mut from = 0;
        for (at, payload) in &self.lent {
            slices.push(IoSlice::new(&self.octets[from..*at]));
            slices.push(IoSlice::new(payload));
            from = *at;
        }
        if from < self.octets.len() {
            slices.push(IoSlice::new(&self.octets[from..]));
        }
        slices
    }

    /// Empties the buffer and keeps up to `room` octets allocated.
    pub(crate) fn clear(&mut self, room: usize) {
        self.lent.clear();
        self.octets.clear();
        self.octets.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_lent_stand_where_copied_ones_would() {
        let frames = [
            ToWorker::Cancel(1),
            ToWorker::Body(2, vec![b'x'; COPIED].into()),
            ToWorker::Body(3, Bytes::from_static(b"short")),
            ToWorker::Body(4, vec![b'y'; 2 * COPIED].into()),
        ];
        let (mut outgoing, mut copied) = (WriteBuffer::default(), Vec::new());
        for order in &frames {
            outgoing.push(order);
            order.put(&mut copied);
        }
        let written: Vec<u8> = outgoing.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(written, copied);
        outgoing.clear(0);
        assert!(outgoing.is_empty() && outgoing.slices().is_empty());
    }
}
