//! The stream under a protocol, whatever transports carry it.

use tokio::io::{AsyncRead, AsyncWrite};
use ziggurat_middleware::ConnectionInfo;

/// A stream of octets from and to a client: a socket, or a transport over one.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether octets of the client can be read that the runtime may not have reported yet.
    fn has_unread(&self) -> bool;

    /// Makes closing the stream visible as an error to the client (a TCP reset), so that a response that ends with the connection does not look
    /// complete. Does nothing where the stream has no such way to end.
    fn abort_on_close(&self);
}

/// A client's stream after all transports, and what is known about it.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) info: ConnectionInfo,
}
