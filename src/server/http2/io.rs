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
    /// What was read since the task last gave way.
    read: usize,
}

/// How much is read before the tasks of the streams run. They read their bodies, which h2 keeps until then.
const TURN: usize = 64 << 10;

impl<S> Http2Io<S> {
    pub(super) fn new(stream: S, early: Vec<u8>, progress: Arc<Progress>, cork: Arc<Cork>) -> Self {
        Self { stream, early, flood: FloodDetector::new(), progress, cork, read: 0 }
    }
}

impl<S: Io> Http2Io<S> {
    fn wrote(&mut self, outcome: Poll<io::Result<usize>>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = if self.progress.tries_again(&outcome) { poll_now(self.stream.write_now(first_of(slices))) } else { outcome };
        self.progress.note_sent(&outcome, self.stream.sent());
        if let Poll::Ready(Ok(mut written)) = outcome {
            for slice in slices {
                let octets = &slice[..written.min(slice.len())];
                self.flood.note_sent(octets);
                written -= octets.len();
            }
        }
        outcome
    }
}

impl<S: Io> AsyncRead for Http2Io<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read >= TURN {
            this.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let start = buf.filled().len();
        if this.early.is_empty() {
            end_of_tls(ready!(Pin::new(&mut this.stream).poll_read(cx, buf)))?;
        } else {
            let now = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..now]);
            this.early.drain(..now);
        }
        let octets = &buf.filled()[start..];
        this.read += octets.len();
        if this.flood.is_flooded_by(octets) {
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
        this.wrote(outcome, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.cork.holds_back() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(outcome, slices)
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
