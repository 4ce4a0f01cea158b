//! Frames from a worker to the server. Any thread adds frames; what the socket does not take at once is sent later.
//!
//! Chunks that follow each other quickly are sent together, because a system call per chunk would cost more than making it. A chunk that comes soon
//! after another is held until enough octets have accumulated, a short time has passed, or the thread becomes idle; the thread that reads the link
//! checks at short intervals while anything is held. (PEP 3333 section "Buffering and Streaming" requires that a block is on its way while the next
//! is made.) Whole responses are never held: if the worker dies, the server has to know which calls were over.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, write};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::descriptor;
use super::frame::{SharedChunk, ToServer, put_response_body_head};
use super::shared_memory::RingWriter;

/// The frames of a worker that wait for the socket. Adding one never blocks; the credit of the calls bounds the size.
pub(crate) struct Outbox {
    socket: UnixStream,
    /// Wakes the thread that reads, which then sends held and unsent frames.
    bell: OwnedFd,
    out: Mutex<Out>,
}

struct Out {
    octets: Vec<u8>,
    sent: usize,
    /// Chunks of bodies in shared memory whose frames were not sent yet, in octets.
    shared: usize,
    /// Where chunks go before the socket, if the server shares memory.
    ring: Option<RingWriter>,
    /// Descriptors, each with the position of the octet that it goes with.
    descriptors: VecDeque<(usize, OwnedFd)>,
    /// The socket takes no more for now.
    is_stuck: bool,
    /// The server is gone.
    is_broken: bool,
    /// When frames were last sent.
    pushed: Instant,
    /// How often the reading thread still checks for held frames; 0 while it waits for the link alone.
    looks: u32,
}

/// A chunk within this time after others is held.
const SOON: Duration = Duration::from_micros(100);

/// As many octets are sent at once, however soon they come.
const MANY: usize = 64 * 1024;

/// The interval of the reading thread's checks, and how many in a row find nothing before they stop.
pub(crate) const LOOK: Duration = Duration::from_micros(250);
const LOOKS: u32 = 16;

/// A buffer larger than this is freed when it is empty.
const KEPT: usize = 512 * 1024;

impl Outbox {
    /// Over a worker's socket.
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let out = Out {
            octets: Vec::new(),
            sent: 0,
            shared: 0,
            ring: None,
            descriptors: VecDeque::new(),
            is_stuck: false,
            is_broken: false,
            pushed: Instant::now(),
            looks: 0,
        };
        Ok(Self { socket, bell, out: Mutex::new(out) })
    }

    /// The socket, for the thread that reads.
    pub(crate) const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Readable when the reading thread has to act: the socket is full, or frames are held.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Lets chunks go through shared memory.
    pub(crate) fn share(&self, ring: RingWriter) {
        self.lock().ring = Some(ring);
    }

    /// Whether the socket is full.
    pub(crate) fn is_stuck(&self) -> bool {
        self.lock().is_stuck
    }

    /// Adds a frame, to be sent with the next one or at [`Outbox::nudge`].
    pub(crate) fn post(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.lock().octets);
    }

    /// Adds a frame and sends all frames.
    pub(crate) fn send(&self, put: impl FnOnce(&mut Vec<u8>)) {
        self.send_at(Instant::now(), put);
    }

    /// As [`Outbox::send`], for a caller that has read the clock.
    pub(crate) fn send_at(&self, now: Instant, put: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.lock();
        put(&mut out.octets);
        self.push_at(&mut out, now);
    }

    /// Adds a frame with a descriptor and sends all frames.
    pub(crate) fn send_descriptor(&self, put: impl FnOnce(&mut Vec<u8>), descriptor: OwnedFd) {
        let mut out = self.lock();
        let at = out.octets.len();
        out.descriptors.push_back((at, descriptor));
        put(&mut out.octets);
        self.push(&mut out);
    }

    /// Sends frames that have been held long enough. Returns whether the reading thread has to check again.
    pub(crate) fn look(&self) -> bool {
        let mut out = self.lock();
        if out.looks == 0 {
            return false;
        }
        if out.octets.is_empty() {
            out.looks -= 1;
        } else {
            out.looks = LOOKS;
            if out.pushed.elapsed() >= SOON {
                self.push(&mut out);
            }
        }
        out.looks > 0
    }

    /// Adds a chunk of a response's body, and sends it now or soon. A large one is not copied if the socket takes it.
    pub(crate) fn send_chunk(&self, number: u64, payload: &[u8]) {
        let mut out = self.lock();
        if let Some(at) = out.ring.as_mut().and_then(|ring| ring.put(payload)) {
            // It is at most as long as a frame.
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            ToServer::SharedBody(number, SharedChunk { at, length }).put(&mut out.octets);
            out.shared += payload.len();
            return self.push_or_hold(&mut out);
        }
        put_response_body_head(&mut out.octets, number, payload.len());
        let before = out.octets.len() - out.sent;
        if before + payload.len() < MANY {
            out.octets.extend_from_slice(payload);
            return self.push_or_hold(&mut out);
        }
        let mut gone = 0;
        if !out.is_stuck && !out.is_broken && out.descriptors.is_empty() {
            let parts = [IoSlice::new(&out.octets[out.sent..]), IoSlice::new(payload)];
            let sent = sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            gone = sent.unwrap_or(0);
        }
        out.sent += gone.min(before);
        let left = payload.get(gone.saturating_sub(before)..).unwrap_or_default();
        out.octets.extend_from_slice(left);
        self.push(&mut out);
    }

    /// Sends the frames, unless the socket is full.
    pub(crate) fn nudge(&self) {
        self.push(&mut self.lock());
    }

    /// Sends as many frames as the socket takes.
    pub(crate) fn flush(&self) {
        let mut out = self.lock();
        out.is_stuck = false;
        self.push(&mut out);
    }

    /// Sends all frames, blocking if needed: for the first and the last frames.
    pub(crate) fn flush_all(&self) {
        loop {
            self.flush();
            if !self.is_stuck() {
                return;
            }
            let mut polled = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::OUT)];
            // An interruption means another round.
            let _ = rustix::event::poll(&mut polled, None);
        }
    }

    fn push_or_hold(&self, out: &mut Out) {
        if out.octets.len() - out.sent + out.shared >= MANY || out.pushed.elapsed() >= SOON {
            return self.push(out);
        }
        if out.looks == 0 {
            out.looks = LOOKS;
            self.ring();
        }
    }

    fn ring(&self) {
        // An error means that the counter is at its maximum, and thus readable.
        let _ = write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn push(&self, out: &mut Out) {
        self.push_at(out, Instant::now());
    }

    fn push_at(&self, out: &mut Out, now: Instant) {
        out.pushed = now;
        out.shared = 0;
        while out.sent < out.octets.len() && !out.is_stuck && !out.is_broken {
            match out.send_next(&self.socket) {
                Ok(count) => out.sent += count,
                Err(Errno::INTR) => {}
                // Or the server has not received as many descriptors as a process may have open.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => {
                    out.is_stuck = true;
                    self.ring();
                }
                // The reading thread sees the error, too, and ends the process.
                Err(_) => out.is_broken = true,
            }
        }
        if out.sent >= out.octets.len() || out.is_broken {
            out.sent = 0;
            out.octets.clear();
            out.descriptors.clear();
            if out.octets.capacity() > KEPT {
                out.octets = Vec::new();
            }
        } else if out.sent > out.octets.len() / 2 {
            // Frees the room of sent frames also if some always wait.
            let sent = std::mem::take(&mut out.sent);
            out.octets.drain(..sent);
            out.descriptors.iter_mut().for_each(|(at, _)| *at -= sent);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    /// Sends what may go at once: octets up to the next descriptor, or a descriptor with the octets up to the one after it.
    fn send_next(&mut self, socket: &UnixStream) -> Result<usize, Errno> {
        let is_due = self.descriptors.front().is_some_and(|(at, _)| *at == self.sent);
        let end = self.descriptors.get(usize::from(is_due)).map_or(self.octets.len(), |(at, _)| *at);
        let octets = &self.octets[self.sent..end];
        match self.descriptors.front().filter(|_| is_due) {
            None => send(socket, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Some((_, descriptor)) => {
                let count = descriptor::send(socket, &[IoSlice::new(octets)], descriptor.as_fd())?;
                self.descriptors.pop_front();
                Ok(count)
            }
        }
    }
}
