//! Stands between hyper and the socket, and lets only whole and sound request heads through.
//!
//! hyper accepts several things that RFC 9112 forbids, and some of them cannot be seen after it has parsed a request. The guard therefore
//! follows the framing in the octets themselves. What is sound stays where the socket wrote it: in hyper's buffer. A head that is not
//! complete is held back. After a refused head hyper is told, as soon as it has answered the requests before it, that the client has no more to
//! say; whoever runs the connection then tells the client.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use crate::server::limits::Limits;
use crate::server::progress::Progress;
use crate::server::refusal::Refusal;

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket from which only sound requests can be read.
pub(crate) struct Guard<S> {
    socket: S,
    framing: Framing,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
    /// Octets that woke the connection, and were not judged yet.
    early: Vec<u8>,
    /// Octets that hyper has not got: `ready` of them may go, the others belong to a head that is not complete.
    held: Vec<u8>,
    ready: usize,
    /// Nothing was let through yet: the client may still turn out to speak HTTP/2.
    is_fresh: bool,
    end: Option<End>,
    /// hyper has been told that there is nothing more to read.
    is_told: bool,
    /// All answers are with the socket, and hyper has been told so.
    is_settled: bool,
}

/// Why there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has said all it wants to say.
    Closed,
    /// The client has said something that it must not say.
    Refused(Refusal),
    /// The client speaks HTTP/2; what it has said so far is held.
    Http2,
}

impl<S> Guard<S> {
    pub(crate) fn new(socket: S, limits: Arc<Limits>, progress: Arc<Progress>) -> Self {
        Self {
            socket,
            framing: Framing::new(),
            limits,
            progress,
            early: Vec::new(),
            held: Vec::new(),
            ready: 0,
            is_fresh: true,
            end: None,
            is_told: false,
            is_settled: true,
        }
    }

    /// Why there is nothing more to read; `None` where hyper has ended the connection for reasons of its own.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.filter(|_| self.is_told)
    }

    /// Whether nothing of a request has come since the last one.
    pub(crate) const fn is_between(&self) -> bool {
        self.framing.is_between()
    }

    /// Whether the octets so far end inside a body, or were refused there.
    pub(crate) const fn is_in_body(&self) -> bool {
        self.framing.is_in_body()
    }

    /// The socket, and what was read from it and not handed on.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.socket, self.held)
    }

    /// Takes in what is held and `fresh` octets behind it. Gives whether the client turned out to speak HTTP/2, or still may.
    fn may_be_http2(&mut self, fresh: &[u8]) -> bool {
        let mut rest = PREFACE.strip_prefix(&self.held[..]).unwrap_or_default();
        rest = &rest[..rest.len().min(fresh.len())];
        self.is_fresh = fresh.starts_with(rest) && !rest.is_empty();
        self.is_fresh
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    pub(crate) const fn socket(&self) -> &S {
        &self.socket
    }

    /// Waits for the first octets after a silence, with no buffer but one on the stack. Gives whether the client has said anything, rather
    /// than left.
    pub(crate) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut room = [MaybeUninit::uninit(); 2_048];
        let mut buf = ReadBuf::uninit(&mut room);
        let outcome = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf));
        self.early.extend_from_slice(buf.filled());
        Poll::Ready(outcome.is_ok() && !self.early.is_empty())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                let now = this.ready.min(buf.remaining());
                buf.put_slice(&this.held[..now]);
                this.held.drain(..now);
                this.ready -= now;
                if this.held.is_empty() {
                    this.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.end {
                Some(End::Refused(refusal)) if this.framing.is_in_body() => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
                // hyper would take the end of what the client says for the end of the connection, and give up on answers in progress. When
                // they are all given, the flush wakes the task.
                Some(_) if !this.is_settled && !this.framing.is_in_body() => return Poll::Pending,
                Some(_) => {
                    this.is_told = true;
                    return Poll::Ready(Ok(()));
                }
                None => {}
            }
            let start = buf.filled().len();
            if this.early.is_empty() {
                ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
            } else {
                let now = this.early.len().min(buf.remaining());
                buf.put_slice(&this.early[..now]);
                this.early = this.early.split_off(now);
            }
            if this.take_in(buf, start) > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S> Guard<S> {
    /// Judges what the socket has written into `buf` from `start` on; leaves there, and counts, what may pass at once.
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, start: usize) -> usize {
        let fresh = &buf.filled()[start..];
        if fresh.is_empty() {
            self.end = Some(End::Closed);
            return 0;
        }
        if self.is_fresh && self.may_be_http2(fresh) {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            if self.held.len() >= PREFACE.len() {
                self.end = Some(End::Http2);
            }
            self.progress.is_in_head.store(true, Relaxed);
            return 0;
        }
        let passed = if self.held.is_empty() {
            let passed = self.framing.advance(fresh, &self.limits);
            if self.framing.refusal().is_none() {
                self.held.extend_from_slice(&fresh[passed..]);
            }
            buf.set_filled(start + passed);
            passed
        } else {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            self.ready = self.framing.advance(&self.held, &self.limits);
            0
        };
        if let Some(refusal) = self.framing.refusal() {
            self.held.truncate(self.ready);
            self.end = Some(End::Refused(refusal));
            if self.framing.is_in_body() {
                self.progress.broken.store(self.framing.heads(), Relaxed);
            }
        }
        self.progress.is_in_head.store(!self.framing.is_between(), Relaxed);
        self.progress.ask(self.framing.heads());
        self.is_settled &= self.progress.is_settled();
        passed
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write(cx, octets);
        this.progress.wrote(outcome)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.progress.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper calls this when it has nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_settled && this.progress.is_settled() {
            this.is_settled = true;
            if this.end.is_some() {
                cx.waker().wake_by_ref();
            }
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
