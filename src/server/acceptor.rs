//! Listeners that are registered with the runtime, as one type.

use std::io;
use std::iter::repeat_with;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Listen;
use super::listener::{BACKLOG, ListeningSocket};
use super::socket::{Socket, Stream};
#[cfg(feature = "experimental-http3")]
use super::transport::{QuicClient, QuicEndpoint};

/// What accepts clients.
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
    #[cfg(feature = "experimental-http3")]
    Quic(Box<QuicEndpoint>),
}

/// A client that is accepted, before any octet of it was read.
pub(super) enum NewClient {
    Socket(Socket),
    #[cfg(feature = "experimental-http3")]
    Quic(Box<QuicClient>),
}

impl Acceptor {
    /// Must be called inside the runtime.
    #[cfg_attr(not(feature = "experimental-http3"), allow(unused_variables))]
    pub(super) fn new(socket: ListeningSocket, listen: &Listen) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
            #[cfg(feature = "experimental-http3")]
            ListeningSocket::Udp(socket) => {
                let none = || io::Error::new(io::ErrorKind::InvalidInput, "HTTP/3 takes TLS");
                Self::Quic(Box::new(QuicEndpoint::open(socket, listen.transport.tls.as_ref().ok_or_else(none)?)?))
            }
        })
    }

    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<NewClient>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| NewClient::Socket(Stream::Tcp(stream).into())),
            Self::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| NewClient::Socket(Stream::Unix(stream).into())),
            #[cfg(feature = "experimental-http3")]
            Self::Quic(endpoint) => endpoint.poll_accept(cx).map(|client| Ok(NewClient::Quic(Box::new(client)))),
        }
    }

    /// Whether it is for HTTP/3.
    pub(super) const fn is_http3(&self) -> bool {
        !matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    #[cfg(feature = "experimental-http3")]
    pub(super) fn endpoint(&self) -> Option<quinn::Endpoint> {
        match self {
            Self::Quic(endpoint) => Some(endpoint.handle()),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Closes the listener and returns the clients that were in its queue. Those of QUIC come again, over TCP.
    pub(super) fn into_queue(self) -> Vec<NewClient> {
        // This asks the kernel, because the runtime may not have reported the newest clients yet.
        fn all(accept: impl FnMut() -> io::Result<Socket>) -> Vec<NewClient> {
            repeat_with(accept).map_while(Result::ok).map(NewClient::Socket).take(BACKLOG.into()).collect()
        }
        match self {
            Self::Tcp(listener) => listener.into_std().map(|listener| {
                all(|| {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    TcpStream::from_std(stream).map(|stream| Stream::Tcp(stream).into())
                })
            }),
            Self::Unix(listener) => listener.into_std().map(|listener| {
                all(|| {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(|stream| Stream::Unix(stream).into())
                })
            }),
            #[cfg(feature = "experimental-http3")]
            Self::Quic(_) => Ok(Vec::new()),
        }
        .unwrap_or_default()
    }
}

impl NewClient {
    /// The socket of a client over TCP, or over a Unix socket.
    pub(super) fn socket(self) -> Option<Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            #[cfg(feature = "experimental-http3")]
            Self::Quic(_) => None,
        }
    }

    /// Whether it costs a descriptor of the process.
    pub(super) const fn has_descriptor(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    /// Lets a client over UDP show first that its address is its own, if the server `is_busy`. `None` if it is to come again.
    pub(super) fn validated(self, is_busy: impl FnOnce() -> bool) -> Option<Self> {
        match self {
            #[cfg(feature = "experimental-http3")]
            Self::Quic(client) if is_busy() => client.ask_for_address().map(|client| Self::Quic(Box::new(client))),
            other => {
                let _ = is_busy;
                Some(other)
            }
        }
    }
}
