//! Both ends of a pipe, and the state that they share.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::overflow::Overflow;
use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Waiting chunks smaller than this are joined: each could otherwise keep a much larger buffer alive.
pub(super) const SMALL: usize = 16 * 1024;

/// The writer of a pipe, in another process. It sends as many octets as it was granted.
pub(crate) trait RemoteWriter: Send + Sync {
    /// Grants so many more octets.
    fn grant(&self, octets: usize);

    /// Says that the reader is gone.
    fn abandon(&self);
}

/// A pipe that another process fills. That process may send up to `budget` octets at first (to a lazy pipe only after the first read), and then as
/// many as were read. [`Writer::accept`] and [`Writer::put`] fill it.
pub(crate) fn remote_pipe<E: From<Disconnected>>(budget: usize, lazy: bool, sender: Box<dyn RemoteWriter>) -> (Writer<E>, Reader<E>) {
    new(budget, lazy, Some(sender))
}

/// A pipe that holds up to `budget` octets, or one chunk of any size. A lazy pipe takes nothing before the first read.
pub(crate) fn pipe<E: From<Disconnected>>(budget: usize, lazy: bool) -> (Writer<E>, Reader<E>) {
    new(budget, lazy, None)
}

fn new<E: From<Disconnected>>(budget: usize, lazy: bool, sender: Option<Box<dyn RemoteWriter>>) -> (Writer<E>, Reader<E>) {
    let state = PipeState {
        chunks: VecDeque::new(),
        joined: BytesMut::new(),
        octets: 0,
        end: None,
        ended: false,
        asked: !lazy,
        abandoned: false,
        reader: None,
        writer: None,
        reader_blocks: false,
        writer_blocks: false,
        owed: 0,
        overflow: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), readable: Condvar::new(), writable: Condvar::new(), budget, sender });
    (Writer(Arc::clone(&shared)), Reader(shared))
}

pub(super) struct Shared<E> {
    state: Mutex<PipeState<E>>,
    readable: Condvar,
    writable: Condvar,
    pub(super) budget: usize,
    sender: Option<Box<dyn RemoteWriter>>,
}

pub(super) struct PipeState<E> {
    pub(super) chunks: VecDeque<Bytes>,
    /// Small chunks after `chunks`, joined.
    pub(super) joined: BytesMut,
    pub(super) octets: usize,
    end: Option<Result<(), E>>,
    pub(super) ended: bool,
    /// The reader has read at least once.
    asked: bool,
    /// The reader is gone.
    abandoned: bool,
    pub(super) reader: Option<Waker>,
    writer: Option<Waker>,
    /// A thread waits for octets and was not notified yet. (Notifying a condition variable is a system call even if nobody waits.)
    reader_blocks: bool,
    /// Likewise for room.
    writer_blocks: bool,
    /// Octets that were read and not granted again yet.
    pub(super) owed: usize,
    /// Where chunks go that the reader does not take.
    pub(super) overflow: Option<Overflow>,
}

/// Writes to a pipe. If it is dropped before [`Writer::finish`], the reader gets an error.
pub(crate) struct Writer<E: From<Disconnected>>(Arc<Shared<E>>);

/// Reads from a pipe. Dropping it tells the writer.
pub(crate) struct Reader<E>(pub(super) Arc<Shared<E>>);

/// The other end is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disconnected;

impl std::fmt::Display for Disconnected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off before the end")
    }
}

impl std::error::Error for Disconnected {}

impl<E: From<Disconnected>> Writer<E> {
    /// Waits in a task until there is room.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Poll::Ready(Err(Disconnected));
        }
        if state.asked && state.octets < self.0.budget {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits in a task until the reader is gone.
    pub(crate) fn poll_disconnected(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Writes a chunk if there is room for it, and returns it otherwise.
    pub(crate) fn try_send(&self, chunk: Bytes) -> Result<Option<Bytes>, Disconnected> {
        let state = self.0.lock();
        if state.abandoned {
            return Err(Disconnected);
        }
        if !state.has_room(&chunk, self.0.budget) {
            return Ok(Some(chunk));
        }
        self.0.put(state, chunk);
        Ok(None)
    }

    /// Writes a chunk. Blocks this thread until there is room for it.
    pub(crate) fn send(&self, chunk: Bytes) -> Result<(), Disconnected> {
        let mut state = self.0.lock();
        loop {
            if state.abandoned {
                return Err(Disconnected);
            }
            if state.has_room(&chunk, self.0.budget) {
                self.0.put(state, chunk);
                return Ok(());
            }
            state.writer_blocks = true;
            state = wait(&self.0.writable, state);
            state.writer_blocks = false;
        }
    }

    /// Writes a chunk without checking for room, after [`Writer::poll_room`].
    pub(crate) fn put(&self, chunk: Bytes) {
        self.0.put(self.0.lock(), chunk);
    }

    /// Writes a chunk that another process has sent. Returns it if it exceeds the grant.
    pub(crate) fn accept(&self, chunk: Bytes) -> Result<(), Bytes> {
        let state = self.0.lock();
        if state.octets + chunk.len() > self.0.budget {
            return Err(chunk);
        }
        self.0.put(state, chunk);
        Ok(())
    }

    /// Ends the pipe.
    pub(crate) fn finish(self) {
        self.0.end(Ok(()));
    }

    /// Ends the pipe with an error, which the reader gets after what it has not read yet.
    pub(crate) fn fail(self, error: E) {
        self.0.end(Err(error));
    }
}

impl<E: From<Disconnected>> Drop for Writer<E> {
    fn drop(&mut self) {
        self.0.end(Err(Disconnected.into()));
    }
}

impl<E> Reader<E> {
    /// Whether this is a lazy pipe that has not been read yet.
    pub(crate) fn is_lazy(&self) -> bool {
        !self.0.lock().asked
    }

    /// Reads the next chunk in a task; `None` at the end.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, E>>> {
        self.0.poll_take(self.0.lock(), cx)
    }

    /// Reads the next chunk, if there is one.
    pub(crate) fn try_recv(&self) -> Option<Option<Result<Bytes, E>>> {
        let mut state = self.0.lock();
        let next = self.0.take(&mut state);
        self.0.grant(state);
        next
    }

    /// Reads the next chunk; `None` at the end. Blocks this thread.
    pub(crate) fn recv(&self) -> Option<Result<Bytes, E>> {
        let mut state = self.0.lock();
        loop {
            let next = self.0.take(&mut state);
            if state.owed > 0 {
                self.0.grant(state);
                state = self.0.lock();
            }
            if let Some(next) = next {
                return next;
            }
            // Unless something came while the lock was released.
            if state.octets == 0 && state.end.is_none() {
                state.reader_blocks = true;
                state = wait(&self.0.readable, state);
                state.reader_blocks = false;
            }
        }
    }
}

impl<E> Drop for Reader<E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        // Frees unread chunks now, not when the writer is done.
        let chunks = (std::mem::take(&mut state.chunks), std::mem::take(&mut state.joined));
        let waker = state.writer.take();
        if std::mem::take(&mut state.writer_blocks) {
            self.0.writable.notify_one();
        }
        let is_open = !state.ended;
        let overflow = state.overflow.take();
        drop(state);
        if let Some(overflow) = overflow {
            overflow.ended();
        }
        drop(chunks);
        wake(waker);
        if let Some(sender) = self.0.sender.as_ref().filter(|_| is_open) {
            sender.abandon();
        }
    }
}

impl<E> Shared<E> {
    pub(super) fn lock(&self) -> MutexGuard<'_, PipeState<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, PipeState<E>>, chunk: Bytes) {
        if chunk.is_empty() || state.abandoned {
            return;
        }
        state.octets += chunk.len();
        let PipeState { chunks, joined, .. } = &mut *state;
        if chunk.len() < SMALL && !(chunks.is_empty() && joined.is_empty()) {
            joined.extend_from_slice(&chunk);
        } else {
            if !joined.is_empty() {
                chunks.push_back(joined.split().freeze());
            }
            chunks.push_back(chunk);
        }
        let waker = state.reader.take();
        if std::mem::take(&mut state.reader_blocks) {
            self.readable.notify_one();
        }
        let (is_full, waiting) = (self.is_full(&state), state.octets);
        if let Some(overflow) = &mut state.overflow {
            overflow.added(waiting, is_full);
        }
        drop(state);
        wake(waker);
    }

    fn end(&self, end: Result<(), E>) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        state.end = Some(end);
        if let Some(overflow) = &state.overflow {
            overflow.ended();
        }
        let waker = state.reader.take();
        if std::mem::take(&mut state.reader_blocks) {
            self.readable.notify_one();
        }
        drop(state);
        wake(waker);
    }

    fn take(&self, state: &mut PipeState<E>) -> Option<Option<Result<Bytes, E>>> {
        let PipeState { chunks, joined, .. } = &mut *state;
        let next = match chunks.pop_front().or_else(|| (!joined.is_empty()).then(|| joined.split().freeze())) {
            Some(chunk) => {
                state.octets -= chunk.len();
                state.owed += chunk.len();
                let waiting = state.octets;
                if let Some(overflow) = &mut state.overflow {
                    overflow.took(chunk.len(), waiting);
                }
                Some(Some(Ok(chunk)))
            }
            None => match state.end.take() {
                Some(Err(error)) => Some(Some(Err(error))),
                Some(Ok(())) => Some(None),
                None => None,
            },
        };
        if let Some(None | Some(Err(_))) = next {
            // Further reads return the end again.
            state.end = Some(Ok(()));
        }
        if !std::mem::replace(&mut state.asked, true) {
            state.owed += self.budget;
        }
        self.made_room(state);
        next
    }

    /// Lets the writer go on. Not for every chunk: it goes on when it can write several.
    pub(super) fn made_room(&self, state: &mut PipeState<E>) {
        if state.octets <= self.budget / 2 {
            if std::mem::take(&mut state.writer_blocks) {
                self.writable.notify_one();
            }
            wake(state.writer.take());
        }
    }

    /// Whether the writer may have to wait.
    pub(super) const fn is_full(&self, state: &PipeState<E>) -> bool {
        state.octets >= self.budget / 2
    }

    /// Takes the next chunk in a task.
    pub(super) fn poll_take(&self, mut state: MutexGuard<'_, PipeState<E>>, cx: &Context<'_>) -> Poll<Option<Result<Bytes, E>>> {
        let next = self.take(&mut state);
        if next.is_none() {
            state.reader = Some(cx.waker().clone());
        }
        self.grant(state);
        next.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<E> Shared<E> {
    /// Grants as many octets as were read; not for every chunk, and not after the end.
    pub(super) fn grant(&self, mut state: MutexGuard<'_, PipeState<E>>) {
        let Some(sender) = &self.sender else {
            state.owed = 0;
            return;
        };
        if state.owed >= self.budget / 2 && !state.ended {
            let owed = std::mem::take(&mut state.owed);
            drop(state);
            sender.grant(owed);
        }
    }
}

impl<E> PipeState<E> {
    fn has_room(&self, chunk: &Bytes, budget: usize) -> bool {
        self.octets == 0 || self.octets + chunk.len() <= budget
    }
}

/// Blocks this thread until the other end has made progress.
fn wait<'a, T>(until: &Condvar, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    until.wait(state).unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
