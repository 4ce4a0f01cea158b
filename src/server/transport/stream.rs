//! The stream inside TLS.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream as Inner;

use crate::server::io::Io;

/// A stream over TLS. It may hold back some KiB that it has accepted, until they are flushed.
pub(in crate::server) struct TlsStream<S>(Box<Inner<S>>);

impl<S> TlsStream<S> {
    pub(super) fn new(inner: Inner<S>) -> Self {
        Self(Box::new(inner))
    }
}

/// Writes to the socket without waiting for the runtime's word.
struct Now<'a, S>(&'a mut S);

impl<S: Io> Write for Now<'_, S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write_now(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Io> Io for TlsStream<S> {
    fn has_unread(&self) -> bool {
        // rustls itself has nothing: it was read until it had to wait for the socket.
        self.0.get_ref().0.has_unread()
    }

    fn write_now(&mut self, octets: &[u8]) -> io::Result<usize> {
        let (socket, session) = self.0.get_mut();
        let mut taken = 0;
        loop {
            while session.wants_write() {
                match session.write_tls(&mut Now(socket)) {
                    Ok(1..) => {}
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                    Err(error) => return Err(error),
                }
            }
            if taken == octets.len() {
                return Ok(taken);
            }
            taken += session.writer().write(&octets[taken..])?;
        }
    }

    fn sent(&self) -> u64 {
        self.0.get_ref().0.sent()
    }

    fn abort_on_close(&self) {
        // No close_notify is sent either, but many clients do not ask for it.
        self.0.get_ref().0.abort_on_close();
    }
}

impl<S: Io> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.get_mut().0;
        if inner.get_ref().1.wants_write() {
            // Nobody may flush while a client is waited for. An error shows itself when reading.
            let _ = Pin::new(&mut *inner).poll_flush(cx);
        }
        Pin::new(inner).poll_read(cx, buf)
    }
}

impl<S: Io> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write(cx, octets)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(cx)
    }

    /// Sends close_notify, then ends the socket's writing half.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_shutdown(cx)
    }
}
