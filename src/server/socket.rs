//! Accepted connections, TCP or Unix, as one type.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use rustix::io::{Errno, pread};
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use ziggurat_middleware::{ConnectionInfo, FilePart, Scheme};

use super::io::Io;

/// One client's connection.
pub(super) struct Socket {
    stream: Stream,
    /// Octets that the kernel has taken.
    sent: u64,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// The addresses of both ends, with the scheme of the transport. Fails if the client has disconnected.
    pub(super) fn info(&self, scheme: Scheme) -> io::Result<ConnectionInfo> {
        let (peer, local) = match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                (Some(canonical(stream.peer_addr()?)), Some(canonical(stream.local_addr()?)))
            }
            Stream::Unix(_) => (None, None),
        };
        Ok(ConnectionInfo {
            client: peer.map(|peer| peer.ip()),
            client_port: peer.map(|peer| peer.port()),
            scheme,
            server_port: None,
            local,
            is_vetted: false,
        })
    }
}

impl Socket {
    /// The first octet that can be read, which stays there; `None` at the end of the stream.
    pub(super) fn poll_first_octet(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        let mut octet = [0];
        loop {
            let peek = || rustix::net::recv(self, &mut octet, RecvFlags::PEEK).map(|(octets, _)| octets).map_err(io::Error::from);
            let peeked = match &self.stream {
                Stream::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, peek)
                }
                Stream::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, peek)
                }
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(octets) => return Poll::Ready(Ok((octets > 0).then_some(octet[0]))),
            }
        }
    }

    fn send_file(&self, part: &FilePart) -> io::Result<usize> {
        let mut at = part.at;
        loop {
            match sendfile(self, &part.file, Some(&mut at), part.len) {
                Err(Errno::INTR) => {}
                // The file system, or what stands in for the kernel, cannot.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return self.copy_file(part),
                sent => return Ok(sent?),
            }
        }
    }

    /// Reads a part of a file, or its beginning, and writes it.
    fn copy_file(&self, part: &FilePart) -> io::Result<usize> {
        let mut octets = [0; 16 << 10];
        let len = part.len.min(octets.len());
        let read = pread(&part.file, &mut octets[..len], part.at)?;
        Ok(rustix::net::send(self, &octets[..read], SendFlags::NOSIGNAL)?)
    }

    fn note_sent(&mut self, written: io::Result<usize>) -> io::Result<usize> {
        written.inspect(|octets| self.sent += *octets as u64)
    }
}

impl From<Stream> for Socket {
    fn from(stream: Stream) -> Self {
        Self { stream, sent: 0 }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Io for Socket {
    fn has_unread(&self) -> bool {
        let socket = match &self.stream {
            Stream::Tcp(stream) => SockRef::from(stream),
            Stream::Unix(stream) => SockRef::from(stream),
        };
        socket.peek(&mut [MaybeUninit::uninit()]).is_ok_and(|octets| octets > 0)
    }

    fn write_now(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = match &self.stream {
            Stream::Tcp(stream) => SockRef::from(stream).send(octets),
            Stream::Unix(stream) => SockRef::from(stream).send(octets),
        };
        self.note_sent(written)
    }

    fn sends_files(&self) -> bool {
        true
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart) -> Poll<io::Result<usize>> {
        loop {
            let sent = match &self.stream {
                Stream::Tcp(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || self.send_file(part))
                }
                Stream::Unix(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || self.send_file(part))
                }
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(self.note_sent(sent)),
            }
        }
    }

    fn send_file_now(&mut self, part: &FilePart) -> io::Result<usize> {
        let sent = self.send_file(part);
        self.note_sent(sent)
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn ends_by_closing(&self) -> bool {
        true
    }

    fn abort_on_close(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            // If it fails, the client has disconnected.
            let _ = stream.set_zero_linger();
        }
    }
}

/// The IPv4 address of an IPv4 client on an IPv6 socket.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        };
        written.map(|written| this.note_sent(written))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        written.map(|written| this.note_sent(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
