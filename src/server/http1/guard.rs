//! Stands between hyper and the stream, and passes on only complete and valid request heads.
//!
//! hyper accepts several things that RFC 9112 forbids, and some of them cannot be seen any more after it has parsed a request. The guard therefore
//! follows the framing in the octets themselves. Valid octets stay where the stream wrote them: in hyper's buffer. An incomplete head is held back.
//! After a refused head, hyper sees the end of the stream once it has sent all earlier responses; the connection's task then sends the refusal.
//!
//! What follows a request with `Upgrade` is held back until the stack has responded: it is the next request, or it belongs to the new protocol. If
//! the stack accepts the upgrade, all octets pass untouched from then on.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ziggurat_middleware::FilePart;

use super::framing::Framing;
use super::half_closed::HalfClosed;
use super::lent_files::Begin;
use crate::server::http2::PREFACE;
use crate::server::io::{Io, end_of_tls, first_of, poll_flush_now, poll_now};
use crate::server::limits::Limits;
use crate::server::progress::Progress;
use crate::server::refusal::Refusal;
use crate::server::tunnel::{Tunnel, TunnelHandle};

/// A stream from which only valid requests can be read.
pub(crate) struct Guard<S> {
    /// `None` after a request with `Upgrade`: the stream is in the tunnel then.
    stream: Option<S>,
    /// Dropped with the guard, by hyper or by the stack.
    tunnel: TunnelHandle<S>,
    framing: Framing,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
    /// Octets that ended a silence and were not judged yet.
    early: Vec<u8>,
    /// Octets that hyper has not got: `ready` of them may pass, the others belong to an incomplete head or wait for the decision about an upgrade.
    held: Vec<u8>,
    ready: usize,
    /// Nothing has passed yet: the client may still turn out to speak HTTP/2.
    is_fresh: bool,
    /// The stack has accepted an upgrade.
    is_upgraded: bool,
    end: Option<ReadEnd>,
    half_closed: HalfClosed,
    /// hyper has seen the end of the stream.
    is_told: bool,
    /// All responses are with the stream, and hyper was woken after the last one.
    is_settled: bool,
}

/// Why there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The client has closed its side.
    Closed,
    /// The client has sent what it must not send.
    Refused(Refusal),
    /// The client speaks HTTP/2. What it has sent so far is held.
    Http2,
}

impl<S> Guard<S> {
    /// With `may_be_http2`, the first octets may be the preface of HTTP/2.
    pub(crate) fn new(stream: S, may_be_http2: bool, limits: Arc<Limits>, progress: Arc<Progress>) -> Self {
        Self {
            stream: Some(stream),
            tunnel: TunnelHandle(Arc::new(Tunnel::new())),
            framing: Framing::new(),
            limits,
            progress,
            early: Vec::new(),
            held: Vec::new(),
            ready: 0,
            is_fresh: may_be_http2,
            is_upgraded: false,
            end: None,
            half_closed: HalfClosed::default(),
            is_told: false,
            is_settled: true,
        }
    }

    /// Where the stream is after a request with `Upgrade`.
    pub(super) fn tunnel(&self) -> Arc<Tunnel<S>> {
        Arc::clone(&self.tunnel.0)
    }

    /// Why there is nothing more to read; `None` if hyper has ended the connection for another reason.
    pub(crate) fn end(&self) -> Option<ReadEnd> {
        self.end.filter(|_| self.is_told)
    }

    /// Whether nothing of a request has come since the last one.
    pub(crate) const fn is_between(&self) -> bool {
        self.framing.is_between() && self.held.is_empty()
    }

    /// Whether the octets so far end inside a body, or were refused there.
    pub(crate) const fn is_in_body(&self) -> bool {
        self.framing.is_in_body()
    }

    /// The stream, and what ended its silence.
    pub(crate) fn into_early(self) -> (Option<S>, Vec<u8>) {
        (self.stream, self.early)
    }

    /// The stream, and what was read from it and not passed on.
    pub(crate) fn into_parts(self) -> (Option<S>, Vec<u8>) {
        let Self { stream, tunnel, held, .. } = self;
        (stream.or_else(|| tunnel.0.take()), held)
    }

    /// Whether what is held, with `fresh` octets behind it, is the preface of HTTP/2, or its beginning.
    fn may_be_http2(&mut self, fresh: &[u8]) -> bool {
        let mut rest = PREFACE.strip_prefix(&self.held[..]).unwrap_or_default();
        rest = &rest[..rest.len().min(fresh.len())];
        self.is_fresh = fresh.starts_with(rest) && !rest.is_empty();
        self.is_fresh
    }
}

impl<S: Io> Guard<S> {
    /// Whether octets of the client can be read that the runtime may not have reported yet.
    pub(crate) fn has_unread(&self) -> bool {
        self.stream.as_ref().map_or_else(|| self.tunnel.0.has_unread(), Io::has_unread)
    }

    /// Waits for the first octets after a silence, with a buffer on the stack only. Returns whether there are any, and no end of the stream.
    pub(crate) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut room = [MaybeUninit::uninit(); 2_048];
        let mut buf = ReadBuf::uninit(&mut room);
        let outcome = ready!(self.poll_stream(cx, &mut buf));
        self.early.extend_from_slice(buf.filled());
        Poll::Ready(outcome.is_ok() && !self.early.is_empty())
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => self.tunnel.0.poll_read(cx, buf),
        }
    }

    /// Whether a part of a file can be sent in the place of its octets.
    pub(super) fn sends_files(&self) -> bool {
        self.stream.as_ref().is_some_and(Io::sends_files)
    }

    pub(super) fn write_now(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.as_mut().map_or(Err(io::ErrorKind::WouldBlock.into()), |stream| stream.write_now(octets))
    }

    fn send_file_now(&mut self, part: &FilePart) -> io::Result<usize> {
        self.stream.as_mut().map_or(Err(io::ErrorKind::WouldBlock.into()), |stream| stream.send_file_now(part))
    }

    /// `now` writes the same whether or not the stream is reported as writable.
    fn wrote(&mut self, outcome: Poll<io::Result<usize>>, now: impl FnOnce(&mut Self) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        let outcome = if self.progress.tries_again(&outcome) { poll_now(now(self)) } else { outcome };
        self.progress.note_sent(&outcome, self.sent());
        outcome
    }

    /// Sends the hints that go before the next response.
    fn poll_hints(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(octets) = self.progress.hints.next() {
            let outcome = self.poll_sink(cx, |stream, cx| stream.poll_write(cx, &octets));
            let count = ready!(self.wrote(outcome, |this| this.write_now(&octets)))?;
            self.progress.hints.note_sent(count)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Counts what was sent of a lent part.
    fn sent_of_file(&self, octets: usize) -> io::Result<usize> {
        if octets == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        self.progress.lent.note_sent(octets);
        Ok(octets)
    }

    fn sent(&self) -> u64 {
        self.stream.as_ref().map_or_else(|| self.tunnel.0.sent(), Io::sent)
    }

    fn is_gone(&mut self, end: ReadEnd, cx: &mut Context<'_>) -> bool {
        end == ReadEnd::Closed && self.half_closed.poll_gone(self.sent(), cx).is_ready()
    }

    fn poll_flush_now(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().map_or(Poll::Pending, |stream| poll_flush_now(stream, cx))
    }

    fn poll_sink<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.stream {
            Some(stream) => write(Pin::new(stream), cx),
            None => self.tunnel.0.poll_write(cx, write),
        }
    }

    /// Goes on after a request with `Upgrade` if the stack has responded to it. Returns whether it has.
    fn resume(&mut self) -> bool {
        // hyper has not read all of the head yet while octets are ready.
        if !self.framing.awaits_upgrade() || self.is_upgraded || self.ready > 0 {
            return false;
        }
        let Some(is_accepted) = self.progress.upgrade.take() else { return false };
        self.held.append(&mut self.early);
        if is_accepted {
            self.is_upgraded = true;
            self.ready = self.held.len();
        } else {
            self.framing.resume();
            self.judge_held();
            self.note_framing();
        }
        true
    }
}

impl<S: Io> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.resume();
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
            if this.is_upgraded {
                return this.poll_stream(cx, buf);
            }
            if this.framing.awaits_upgrade() && !this.held.is_empty() {
                // The flush of the response wakes the task.
                return Poll::Pending;
            }
            let end = this.end;
            match end {
                Some(ReadEnd::Refused(refusal)) if this.framing.is_in_body() => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
                // hyper takes the end of the stream for the end of the connection and gives up on responses under way. The flush of the last one wakes the task.
                Some(end) if !this.is_settled && !this.framing.is_in_body() && !this.is_gone(end, cx) => return Poll::Pending,
                Some(end) => {
                    this.is_told = true;
                    if let ReadEnd::Refused(refusal) = end {
                        this.tunnel.0.refuse(refusal);
                    }
                    return Poll::Ready(Ok(()));
                }
                None => {}
            }
            let start = buf.filled().len();
            if this.early.is_empty() {
                end_of_tls(ready!(this.poll_stream(cx, buf)))?;
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
    /// Judges what the stream has written into `buf` from `start` on. Leaves there what may pass at once, and returns its size.
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, start: usize) -> usize {
        let fresh = &buf.filled()[start..];
        if fresh.is_empty() {
            self.end = Some(ReadEnd::Closed);
            return 0;
        }
        if self.is_fresh && self.may_be_http2(fresh) {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            if self.held.len() >= PREFACE.len() {
                self.end = Some(ReadEnd::Http2);
            }
            self.progress.is_in_head.store(true, Relaxed);
            return 0;
        }
        let passed = if self.held.is_empty() {
            let passed = self.framing.advance(fresh, &self.limits);
            let rewritten = self.framing.rewritten(&fresh[..passed]);
            let here = if rewritten.is_some() { 0 } else { passed };
            self.held = rewritten.unwrap_or_default();
            self.ready = self.held.len();
            if self.framing.refusal().is_none() {
                self.held.extend_from_slice(&fresh[passed..]);
            }
            buf.set_filled(start + here);
            here
        } else {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            self.judge_held();
            0
        };
        self.note_framing();
        passed
    }

    fn judge_held(&mut self) {
        self.ready = self.framing.advance(&self.held, &self.limits);
        if let Some(rewritten) = self.framing.rewritten(&self.held[..self.ready]) {
            let passed = std::mem::replace(&mut self.ready, rewritten.len());
            self.held.splice(..passed, rewritten);
        }
    }

    /// Reports where the framing is now.
    fn note_framing(&mut self) {
        if let Some(refusal) = self.framing.refusal() {
            self.held.truncate(self.ready);
            self.end = Some(ReadEnd::Refused(refusal));
            if self.framing.is_in_body() {
                self.progress.malformed.store(self.framing.heads(), Relaxed);
            }
        }
        if self.framing.awaits_upgrade()
            && let Some(stream) = self.stream.take()
        {
            self.tunnel.0.put(stream);
        }
        self.progress.is_in_head.store(!self.framing.is_between(), Relaxed);
        self.progress.set_requests(self.framing.heads());
        self.is_settled &= self.progress.is_settled();
    }
}

impl<S: Io> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_hints(cx))?;
        this.progress.hints.note_write();
        match this.progress.lent.begin_of(slices)? {
            Begin::Octets(count) => {
                let slices = &slices[..count];
                let outcome = this.poll_sink(cx, |stream, cx| stream.poll_write_vectored(cx, slices));
                this.wrote(outcome, |this| this.write_now(first_of(slices)))
            }
            Begin::Part(part) => {
                let outcome = this.poll_sink(cx, |stream, cx| stream.get_mut().poll_send_file(cx, &part));
                let outcome = this.wrote(outcome, |this| this.send_file_now(&part));
                outcome.map(|sent| this.sent_of_file(sent?))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_none_or(AsyncWrite::is_write_vectored)
    }

    /// hyper calls this when it has nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let may_read_again = this.resume();
        let has_settled = !this.is_settled && this.progress.is_settled();
        this.is_settled |= has_settled;
        if may_read_again || (has_settled && this.end.is_some()) {
            cx.waker().wake_by_ref();
        }
        this.progress.hints.note_flush();
        ready!(this.poll_hints(cx))?;
        let outcome = this.poll_sink(cx, AsyncWrite::poll_flush);
        let outcome = if this.progress.tries_again(&outcome) { this.poll_flush_now(cx) } else { outcome };
        this.progress.note_sent(&outcome, this.sent());
        outcome
    }

    /// hyper calls this at the end of a connection. The connection's task closes the stream instead, after reading what the client still sends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_upgraded { this.poll_sink(cx, AsyncWrite::poll_shutdown) } else { Poll::Ready(Ok(())) }
    }
}
