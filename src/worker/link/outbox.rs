//! What a worker says to the front: threads put frames in, and what the socket does not take at once goes later.
//!
//! Chunks of a stream that come fast go together: a system call for each would cost more than to make it. A chunk that comes soon after others
//! were sent is held, until there are many octets, or a while is over, or the thread has nothing more to do, or the thread that reads the link
//! looks by: that one does so at short intervals as long as anything may be held. (PEP 3333 section "Buffering and Streaming" wants a block on
//! its way while the next is made.) Answers are never held: if the worker dies, the front must know which calls were over.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, write};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

/// The way out of a worker. It never blocks: what is in it is bounded by the windows of the calls.
pub(crate) struct Outbox {
    socket: UnixStream,
    /// Wakes the thread that reads, which sends the rest when the socket takes it, and what is held.
    bell: OwnedFd,
    out: Mutex<Out>,
}

struct Out {
    octets: Vec<u8>,
    sent: usize,
    /// The socket takes no more for now.
    is_stuck: bool,
    /// The front is gone.
    is_broken: bool,
    /// When something was last sent.
    pushed: Instant,
    /// How many more times the thread that reads looks by; 0 while it sleeps.
    looks: u32,
}

/// Chunks that come so soon after others were sent are held.
const SOON: Duration = Duration::from_micros(100);

/// So many octets are sent at once however soon they come.
const MANY: usize = 64 * 1024;

/// How often the thread that reads looks by, and how often it finds nothing before it sleeps.
pub(crate) const LOOK: Duration = Duration::from_micros(250);
const LOOKS: u32 = 16;

/// A buffer that grew beyond this is given back when it is empty.
const KEPT: usize = 512 * 1024;

impl Outbox {
    /// Over a socket of the worker's.
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let out = Out { octets: Vec::new(), sent: 0, is_stuck: false, is_broken: false, pushed: Instant::now(), looks: 0 };
        Ok(Self { socket, bell, out: Mutex::new(out) })
    }

    /// The socket, for the thread that reads.
    pub(crate) const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Rung when the socket takes no more, or something is held.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Whether frames wait for the socket.
    pub(crate) fn is_stuck(&self) -> bool {
        self.lock().is_stuck
    }

    /// Puts a frame in, to go with the next one that is sent, or at the next [`Outbox::nudge`].
    pub(crate) fn post(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.lock().octets);
    }

    /// Sends a frame, and those before it.
    pub(crate) fn send(&self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.lock();
        put(&mut out.octets);
        self.push(&mut out);
    }

    /// Sends what was held for a while. Says whether the thread that reads is to look by again.
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

    /// Sends a frame that ends in a part of a body, now or very soon. The part is not copied if it is large and the socket takes it.
    pub(crate) fn send_with(&self, put: impl FnOnce(&mut Vec<u8>), payload: &[u8]) {
        let mut out = self.lock();
        put(&mut out.octets);
        let before = out.octets.len() - out.sent;
        if before + payload.len() < MANY {
            out.octets.extend_from_slice(payload);
            return self.push_or_hold(&mut out);
        }
        let mut gone = 0;
        if !out.is_stuck && !out.is_broken {
            let parts = [IoSlice::new(&out.octets[out.sent..]), IoSlice::new(payload)];
            let sent = sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            gone = sent.unwrap_or(0);
        }
        out.sent += gone.min(before);
        let left = payload.get(gone.saturating_sub(before)..).unwrap_or_default();
        out.octets.extend_from_slice(left);
        self.push(&mut out);
    }

    /// Sends what was posted, unless the socket takes no more.
    pub(crate) fn nudge(&self) {
        self.push(&mut self.lock());
    }

    /// Sends what waits, as far as the socket takes it now.
    pub(crate) fn flush(&self) {
        let mut out = self.lock();
        out.is_stuck = false;
        self.push(&mut out);
    }

    /// Sends everything, waiting as long as it takes: for the first and the last signals.
    pub(crate) fn flush_all(&self) {
        loop {
            self.flush();
            if !self.is_stuck() {
                return;
            }
            let mut polled = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::OUT)];
            // An interruption only means another round.
            let _ = rustix::event::poll(&mut polled, None);
        }
    }

    fn push_or_hold(&self, out: &mut Out) {
        if out.octets.len() - out.sent >= MANY || out.pushed.elapsed() >= SOON {
            return self.push(out);
        }
        if out.looks == 0 {
            out.looks = LOOKS;
            self.ring();
        }
    }

    fn ring(&self) {
        // A bell that rings already cannot be rung more.
        let _ = write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn push(&self, out: &mut Out) {
        out.pushed = Instant::now();
        while out.sent < out.octets.len() && !out.is_stuck && !out.is_broken {
            match send(&self.socket, &out.octets[out.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => out.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    out.is_stuck = true;
                    self.ring();
                }
                // The thread that reads learns of it too, and ends the process.
                Err(_) => out.is_broken = true,
            }
        }
        if out.sent >= out.octets.len() || out.is_broken {
            out.sent = 0;
            out.octets.clear();
            if out.octets.capacity() > KEPT {
                out.octets = Vec::new();
            }
        } else if out.sent > out.octets.len() / 2 {
            // What is gone gives its room up, also where something always waits.
            out.octets.drain(..out.sent);
            out.sent = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
