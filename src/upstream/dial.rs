//! Opens connections: TCP, a Unix socket, TLS over TCP.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::target::Address;
use super::tls::TlsClient;

/// An open connection, in hyper's terms.
pub(crate) type Io = TokioIo<Box<dyn Stream>>;

/// Octets both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection, and whether TLS negotiated HTTP/2 (ALPN, RFC 7301).
pub(crate) struct Dialed {
    pub(crate) io: Io,
    pub(crate) is_h2: bool,
}

/// Opens a connection, and sends these octets first. `tls` holds the host that the server's certificate must be valid for. The caller bounds the time.
pub(crate) async fn dial(address: &Address, preface: &[u8], tls: Option<(&TlsClient, &str)>) -> Result<Dialed, Failure> {
    let mut tcp = match address {
        Address::Unix(path) => {
            let mut socket = UnixStream::connect(path).await.map_err(Failure::not_opened)?;
            socket.write_all(preface).await.map_err(Failure::unreachable)?;
            return Ok(dialed(socket, false));
        }
        Address::Ip(address) => TcpStream::connect(address).await.map_err(Failure::not_opened)?,
    };
    tcp.set_nodelay(true).map_err(Failure::unreachable)?;
    tcp.write_all(preface).await.map_err(Failure::unreachable)?;
    let Some((client, host)) = tls else { return Ok(dialed(tcp, false)) };
    let name = client.name(host).map_err(Failure::unreachable)?;
    let failed = |error: io::Error| Failure::unreachable(io::Error::new(error.kind(), format!("TLS handshake: {error}")));
    let stream = TlsConnector::from(client.config.clone()).connect(name, tcp).await.map_err(failed)?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(dialed(stream, is_h2))
}

fn dialed(stream: impl Stream + 'static, is_h2: bool) -> Dialed {
    Dialed { io: TokioIo::new(Box::new(stream)), is_h2 }
}
