//! The stream under a protocol, whatever transports carry it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use ziggurat_middleware::{ConnectionInfo, FilePart};

use super::transport::TlsSession;

/// A stream of octets from and to a client: a socket, or a transport over one.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether octets of the client can be read that the runtime may not have reported yet.
    fn has_unread(&self) -> bool;

    /// Writes what the stream takes at once, whether or not the runtime has reported that it is writable. The kernel reports a socket only when a third of its
    /// buffer is free, which takes a slow client long.
    fn write_now(&mut self, octets: &[u8]) -> io::Result<usize>;

    /// Whether parts of files can be sent, and writes take several slices.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends a part of a file, or its beginning. Returns how many octets went; 0 if the file has none there.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _: &FilePart) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// The same, whether or not the runtime has reported that the stream is writable.
    fn send_file_now(&mut self, _: &FilePart) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many octets the socket at the bottom has taken since the connection began. A transport may hold back octets that it has accepted, until they are
    /// flushed.
    fn sent(&self) -> u64;

    /// Whether closing the stream tells the client all that shutting it down would.
    fn ends_by_closing(&self) -> bool {
        false
    }

    /// Makes closing the stream visible as an error to the client (a TCP reset), so that a response that ends with the connection does not look
    /// complete. Does nothing where the stream has no such way to end.
    fn abort_on_close(&self);
}

/// A client's stream after all transports, and what is known about it.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) info: ConnectionInfo,
    /// What TLS found out.
    pub(super) tls: Option<Arc<TlsSession>>,
    pub(super) versions: Versions,
    /// Whether the client could use HTTP/3, too.
    pub(super) offers_http3: bool,
}

/// The versions of HTTP that a connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// The first octets tell: HTTP/2 is known to the client beforehand (RFC 9113 section 3.3).
    Any,
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2: TLS has negotiated it, or the listener speaks nothing else.
    Http2,
}

/// The first slice that has octets, for a write that takes one.
pub(super) fn first_of<'a>(slices: &'a [IoSlice<'_>]) -> &'a [u8] {
    slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)
}

/// Takes the end of a TLS stream without close_notify for the end of the stream: many clients end so. The framing of requests tells whether one was cut short
/// (RFC 9112 section 9.8), as it does in clear text.
pub(super) fn end_of_tls(read: io::Result<()>) -> io::Result<()> {
    read.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })
}

/// The outcome of [`Io::write_now`] as that of a write.
pub(super) fn poll_now(written: io::Result<usize>) -> Poll<io::Result<usize>> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        written => Poll::Ready(written),
    }
}

/// A flush after what the stream holds back was written at once, as far as that is possible.
pub(super) fn poll_flush_now(stream: &mut impl Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    match poll_now(stream.write_now(&[])) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        _ => Pin::new(stream).poll_flush(cx),
    }
}
