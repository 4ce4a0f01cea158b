//! The stream of an upgrade, shared between the stack and the server: an HTTP/1.1 connection, or a stream of an HTTP/2 connection.
//!
//! hyper gives the stream to the part of the stack that accepted the upgrade. The stack uses it in tasks of its own, so the server could neither limit nor
//! end it. Therefore only a handle goes to the stack, and the stream stays here: a task of the server takes it away when its time is over.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use super::io::Io;
use super::refusal::Refusal;

/// How long the stack may take for its last octets. It is less than the server waits for connections that were cut off.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A place for a stream.
pub(super) struct Tunnel<S>(Mutex<State<S>>);

/// The stack's handle of the stream. It notes in the tunnel that it is dropped.
pub(super) struct TunnelHandle<S>(pub(super) Arc<Tunnel<S>>);

impl<S> Drop for TunnelHandle<S> {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct State<S> {
    /// None before it was put here, and after it was taken away.
    stream: Option<Box<S>>,
    is_taken: bool,
    /// The tasks of the stack that wait to read and to write.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The task of the server.
    owner: Option<Waker>,
    /// When octets last moved, in either direction.
    active: Instant,
    /// The handle was dropped.
    is_released: bool,
    /// The tunnel is to end: the stack reads an error, and may write its last octets.
    is_ending: bool,
    /// What the client is to be told after a declined upgrade, if it sent a malformed request later.
    refusal: Option<Refusal>,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TunnelEnd {
    /// The stack has dropped its handle.
    Released,
    /// No octet moved in either direction for too long.
    Idle,
    /// The time of the generation that accepted the upgrade is over.
    Cut,
}

impl<S> Tunnel<S> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            stream: None,
            is_taken: false,
            reader: None,
            writer: None,
            owner: None,
            active: Instant::now(),
            is_released: false,
            is_ending: false,
            refusal: None,
        }))
    }

    pub(super) fn put(&self, stream: S) {
        let mut state = self.state();
        state.active = Instant::now();
        state.stream = Some(Box::new(stream));
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Takes the stream away. Reading and writing fail from then on.
    pub(super) fn take(&self) -> Option<S> {
        let mut state = self.state();
        let wakers = [state.reader.take(), state.writer.take()];
        let stream = state.stream.take();
        state.is_taken = true;
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        stream.map(|stream| *stream)
    }

    /// Lets reads fail from now on, so that the stack ends its protocol and drops its handle.
    fn end(&self) {
        let mut state = self.state();
        state.is_ending = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Notes that the handle was dropped.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.is_released = true;
        let owner = state.owner.take();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.state().refusal = Some(refusal);
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.state().refusal
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Io> Tunnel<S> {
    pub(super) fn has_unread(&self) -> bool {
        self.state().stream.as_ref().is_some_and(|stream| stream.has_unread())
    }

    pub(super) fn sent(&self) -> u64 {
        self.state().stream.as_ref().map_or(0, |stream| stream.sent())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.is_ending {
            return Poll::Ready(Err(ended()));
        }
        let outcome = state.poll_stream(cx, |stream, cx| stream.poll_read(cx, buf));
        state.reader = state.note(&outcome, cx);
        outcome
    }

    /// Polls the writing half by `write`, one of the methods of `AsyncWrite`.
    pub(super) fn poll_write<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.state();
        let outcome = state.poll_stream(cx, write);
        state.writer = state.note(&outcome, cx);
        outcome
    }

    /// Ends the tunnel, and waits a short time until the stack has dropped its handle: a WebSocket ends with a Close frame.
    pub(super) async fn close(&self) {
        self.end();
        let released = poll_fn(|cx| {
            let mut state = self.state();
            state.owner = Some(cx.waker().clone());
            if state.is_released { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = timeout(CLOSE_TIMEOUT, released).await;
    }

    /// Waits until the stack has dropped its handle, until no octet has moved for `idle`, or for `cut`.
    pub(super) async fn ended(&self, idle: Duration, cut: impl Future<Output = ()>) -> TunnelEnd {
        let mut cut = pin!(cut);
        loop {
            let due = self.state().active + idle;
            let mut timer = pin!(sleep_until(due));
            let end = poll_fn(|cx| {
                let is_cut = cut.as_mut().poll(cx).is_ready();
                let mut state = self.state();
                state.owner = Some(cx.waker().clone());
                if state.is_released {
                    return Poll::Ready(Some(TunnelEnd::Released));
                }
                let is_overdue = timer.as_mut().poll(cx).is_ready();
                match is_overdue {
                    _ if is_cut => Poll::Ready(Some(TunnelEnd::Cut)),
                    true if state.active + idle <= due => Poll::Ready(Some(TunnelEnd::Idle)),
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                }
            });
            if let Some(end) = end.await {
                return end;
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended the connection")
}

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    fn poll_stream<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.stream.as_deref_mut() {
            Some(stream) => poll(Pin::new(stream), cx),
            None if self.is_taken => Poll::Ready(Err(ended())),
            None => Poll::Pending,
        }
    }

    /// Notes that octets moved, or returns whom to wake.
    fn note<T>(&mut self, outcome: &Poll<T>, cx: &Context<'_>) -> Option<Waker> {
        if outcome.is_pending() {
            return Some(cx.waker().clone());
        }
        self.active = Instant::now();
        None
    }
}
