//! The socket of an HTTP/2 connection: gives back what was read to tell the protocol, watches for floods, and notes stalls.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::FloodDetector;
use crate::server::progress::Progress;
use crate::server::socket::Socket;

pub(super) struct Http2Io {
    socket: Socket,
    /// Read already, and not given to h2.
    early: Vec<u8>,
    flood: FloodDetector,
    progress: Arc<Progress>,
}

impl Http2Io {
    pub(super) fn new(socket: Socket, early: Vec<u8>, progress: Arc<Progress>) -> Self {
        Self { socket, early, flood: FloodDetector::new(), progress }
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        } else {
            let now = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..now]);
            this.early.drain(..now);
        }
        if this.flood.is_flooded_by(&buf.filled()[start..]) {
            return Poll::Ready(Err(io::Error::other("a flood of HTTP/2 frames that ask for nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = this.progress.wrote(Pin::new(&mut this.socket).poll_write(cx, octets));
        this.flood.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = this.progress.wrote(Pin::new(&mut this.socket).poll_write_vectored(cx, slices));
        this.flood.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
