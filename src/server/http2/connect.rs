//! The octets of an extended CONNECT (RFC 8441 section 5): the DATA of its stream, in both directions.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{poll_room, reserve};
use crate::server::tunnel::Tunnel;

/// The most that one write takes.
const STEP: usize = 16 << 10;

/// A CONNECT without a response. Dropped, it leaves the tunnel without a stream.
pub(super) struct Connecting {
    tunnel: Arc<Tunnel<ConnectIo>>,
    receiver: Option<RecvStream>,
}

impl Connecting {
    /// Leaves the tunnel, which gets its stream later, in the extensions of the request.
    pub(super) fn new(extensions: &mut Extensions, receiver: RecvStream) -> Self {
        let tunnel = Arc::new(Tunnel::new());
        extensions.insert(Arc::clone(&tunnel));
        Self { tunnel, receiver: Some(receiver) }
    }

    /// The response is a 200.
    pub(super) fn connect(mut self, sender: SendStream<Bytes>) {
        if let Some(receiver) = self.receiver.take() {
            self.tunnel.put(ConnectIo { sender, receiver, received: Bytes::new(), is_waiting: false, has_ended: false });
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if self.receiver.is_some() {
            drop(self.tunnel.take());
        }
    }
}

/// A stream of HTTP/2 as a stream of octets. Dropped, it ends as TCP does when it is closed.
pub(in crate::server) struct ConnectIo {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
    /// What was received and not read.
    received: Bytes,
    /// Room was asked for.
    is_waiting: bool,
    /// END_STREAM was sent.
    has_ended: bool,
}

impl ConnectIo {
    fn end(&mut self) -> Result<(), h2::Error> {
        if self.has_ended {
            return Ok(());
        }
        self.has_ended = true;
        self.sender.send_data(Bytes::new(), true)
    }
}

impl Drop for ConnectIo {
    fn drop(&mut self) {
        // It fails if the client has reset the stream.
        let _ = self.end();
    }
}

impl AsyncRead for ConnectIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.received.is_empty() {
            match ready!(this.receiver.poll_data(cx)) {
                Some(Ok(data)) => this.received = data,
                Some(Err(error)) if matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.received.len().min(buf.remaining());
        buf.put_slice(&this.received[..count]);
        this.received.advance(count);
        // It fails if the stream is gone, which the next read tells.
        let _ = this.receiver.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ConnectIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let step = &octets[..octets.len().min(STEP)];
        if step.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !this.is_waiting {
            reserve(&mut this.sender);
            this.is_waiting = true;
        }
        ready!(poll_room(&mut this.sender, cx)).map_err(io_error)?;
        this.is_waiting = false;
        this.sender.send_data(Bytes::copy_from_slice(step), false).map_err(io_error)?;
        Poll::Ready(Ok(step.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end().map_err(io_error))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::STREAM_CLOSED) => io::Error::new(ErrorKind::BrokenPipe, error),
        _ => io::Error::other(error),
    }
}
