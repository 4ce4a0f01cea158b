//! The octets of a connection, in clear text or over TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// A stream over a socket; with a session of TLS, whose handshake is made within this time.
    pub(super) fn over(mut socket: TcpStream, session: Option<ClientConnection>, time: Duration) -> io::Result<Self> {
        let Some(mut session) = session else { return Ok(Self::Plain(socket)) };
        socket.set_read_timeout(Some(time))?;
        socket.set_write_timeout(Some(time))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub(super) fn send(&mut self, octets: &[u8], time: Duration) -> io::Result<()> {
        self.socket().set_write_timeout(Some(time))?;
        match self {
            Self::Plain(socket) => socket.write_all(octets),
            Self::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
        }
    }

    /// Reads what comes within this time. No octets are the end; TLS has one without `close_notify`, too, because most servers leave it out.
    pub(super) fn read(&mut self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        self.socket().set_read_timeout(Some(time))?;
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }

    /// Ends the sending side.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}
