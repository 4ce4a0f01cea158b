//! The stream under h2: gives back the octets that were read to tell the protocol, detects floods and notes stalls.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::cork::Cork;
use super::flood::FloodDetector;
use crate::server::io::{Io, end_of_tls, first_of, poll_flush_now, poll_now};
use crate::server::progress::Progress;

pub(super) struct Http2Io<S> {
    stream: S,
    /// Octets that were read before h2 began.
    early: Vec<u8>,
    flood: FloodDetector,
    progress: Arc<Progress>,
    cork: Arc<Cork>,
}

impl<S> Http2Io<S> {
    pub(super) fn new(stream: S, early: Vec<u8>, progress: Arc<Progress>, cork: Arc<Cork>) -> Self {
        Self { stream, early, flood: FloodDetector::new(), progress, cork }
    }
}

impl<S: Io> Http2Io<S> {
    fn wrote(&mut self, outcome: Poll<io::Result<usize>>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = if self.progress.tries_again(&outcome) { poll_now(self.stream.write_now(octets)) } else { outcome };
        self.progress.note_sent(&outcome, self.stream.sent());
        self.flood.note_write(&outcome);
        outcome
    }
}

impl<S: Io> AsyncRead for Http2Io<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        if this.early.is_empty() {
            end_of_tls(ready!(Pin::new(&mut this.stream).poll_read(cx, buf)))?;
        } else {
            let now = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..now]);
            this.early.drain(..now);
        }
        if this.flood.is_flooded_by(&buf.filled()[start..]) {
            return Poll::Ready(Err(io::Error::other("too many HTTP/2 frames that do nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> AsyncWrite for Http2Io<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.cork.holds_back() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut this.stream).poll_write(cx, octets);
        this.wrote(outcome, octets)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.cork.holds_back() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(outcome, first_of(slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        let outcome = if this.progress.tries_again(&outcome) { poll_flush_now(&mut this.stream, cx) } else { outcome };
        this.progress.note_sent(&outcome, this.stream.sent());
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
