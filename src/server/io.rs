//! The stream under a protocol, whatever transports carry it.

use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite};
use ziggurat_middleware::ConnectionInfo;

/// A stream of octets from and to a client: a socket, or a transport over one.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether octets of the client can be read that the runtime may not have reported yet.
    fn has_unread(&self) -> bool;

    /// Writes what the stream takes at once, whether or not the runtime has reported that it is writable. The kernel reports a socket only when a third of its
    /// buffer is free, which takes a slow client long.
    fn write_now(&self, octets: &[u8]) -> io::Result<usize>;

    /// Makes closing the stream visible as an error to the client (a TCP reset), so that a response that ends with the connection does not look
    /// complete. Does nothing where the stream has no such way to end.
    fn abort_on_close(&self);
}

/// A client's stream after all transports, and what is known about it.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) info: ConnectionInfo,
}

/// The first slice that has octets, for a write that takes one.
pub(super) fn first_of<'a>(slices: &'a [IoSlice<'_>]) -> &'a [u8] {
    slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)
}
