//! Frames that wait to be written to a worker.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;

use super::frame::{ToWorker, put_request_body_head};
use crate::call::spooled::SpooledBody;

/// Payloads smaller than this are copied between the frames, which costs less than tracking them.
const COPIED: usize = 16 * 1024;

/// Consecutive frames. Large payloads are kept apart instead of copied, and so are descriptors.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    octets: Vec<u8>,
    /// What is kept apart, each with its position in `octets`.
    apart: Vec<(usize, Apart)>,
}

enum Apart {
    Payload(Bytes),
    /// It goes with the next octet.
    Attachment(Attachment),
}

/// A descriptor that goes with a frame.
pub(crate) enum Attachment {
    /// The app's end of a WebSocket.
    Socket(OwnedFd),
    /// The body of a request.
    Body(SpooledBody),
    /// The memory of the link.
    Memory(OwnedFd),
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(descriptor) | Self::Memory(descriptor) => descriptor.as_fd(),
            Self::Body(file) => file.as_fd(),
        }
    }
}

impl WriteBuffer {
    /// Appends a frame.
    pub(crate) fn push(&mut self, order: &ToWorker) {
        match order {
            ToWorker::Body(number, payload) if payload.len() >= COPIED => {
                put_request_body_head(&mut self.octets, *number, payload.len());
                self.apart.push((self.octets.len(), Apart::Payload(payload.clone())));
            }
            order => order.put(&mut self.octets),
        }
    }

    /// Sends a descriptor with the frame that is appended next.
    pub(crate) fn attach(&mut self, attachment: Attachment) {
        self.apart.push((self.octets.len(), Apart::Attachment(attachment)));
    }

    /// The buffer, to append frames without a large payload.
    pub(crate) const fn octets(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Everything, in order, and the descriptors, each with the number of the slice that it goes with.
    pub(crate) fn slices(&self) -> (Vec<IoSlice<'_>>, Vec<(usize, BorrowedFd<'_>)>) {
        let mut slices = Vec::with_capacity(2 * self.apart.len() + 1);
        let mut descriptors = Vec::new();
        let mut from = 0;
        for (at, apart) in &self.apart {
            if from < *at {
                slices.push(IoSlice::new(&self.octets[from..*at]));
                from = *at;
            }
            match apart {
                Apart::Payload(payload) => slices.push(IoSlice::new(payload)),
                Apart::Attachment(attachment) => descriptors.push((slices.len(), attachment.as_fd())),
            }
        }
        if from < self.octets.len() {
            slices.push(IoSlice::new(&self.octets[from..]));
        }
        (slices, descriptors)
    }

    /// Empties the buffer and keeps up to `room` octets allocated.
    pub(crate) fn clear(&mut self, room: usize) {
        self.apart.clear();
        self.octets.clear();
        self.octets.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_kept_apart_stands_where_a_copy_would() {
        let frames = [
            ToWorker::WebSocket(0, Bytes::from_static(b"first")),
            ToWorker::Cancel(1),
            ToWorker::Body(2, vec![b'x'; COPIED].into()),
            ToWorker::WebSocket(3, Bytes::from_static(b"head")),
            ToWorker::Body(4, Bytes::from_static(b"short")),
            ToWorker::Body(5, vec![b'y'; 2 * COPIED].into()),
        ];
        let (mut outgoing, mut copied, mut with_descriptor) = (WriteBuffer::default(), Vec::new(), Vec::new());
        for order in &frames {
            match order {
                ToWorker::WebSocket(..) => {
                    outgoing.attach(Attachment::Socket(UnixStream::pair().unwrap().0.into()));
                    outgoing.push(order);
                    with_descriptor.push(copied.len());
                }
                order => outgoing.push(order),
            }
            order.put(&mut copied);
        }
        let (slices, descriptors) = outgoing.slices();
        let begins = |nth: usize| slices[..nth].iter().map(|slice| slice.len()).sum::<usize>();
        assert_eq!(descriptors.iter().map(|(nth, _)| begins(*nth)).collect::<Vec<_>>(), with_descriptor);
        assert_eq!(slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>(), copied);
        outgoing.clear(0);
        assert!(outgoing.is_empty() && outgoing.slices().0.is_empty());
    }
}
