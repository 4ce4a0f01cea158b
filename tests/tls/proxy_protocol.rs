//! A PROXY protocol header in front of the TLS handshake.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use ziggurat_middleware::{Body, ConnectionInfo, Next, Request, Response};

use super::authority::Authority;
use super::support::{PATIENCE, Site, body};

const OPTIONS: &str = r#"{ "cert": "site.pem", "key": "site.key" }, "proxy_protocol": { "trust": "127.0.0.1" }"#;
const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

async fn who(request: Request) -> Result<Response, Infallible> {
    let ConnectionInfo { client, client_port, scheme, local, .. } = request.extensions().get().cloned().unwrap();
    Ok(Response::new(Body::from(format!("{} {}:{} at {}", scheme.as_str(), client.unwrap(), client_port.unwrap(), local.unwrap()))))
}

fn site() -> Site {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    Site::start_with(authority, OPTIONS, "{}", Next::new("app.test", tower::service_fn(who)))
}

/// A socket whose first octets are written in one piece with what comes first of the client.
struct After {
    socket: TcpStream,
    header: Vec<u8>,
}

impl AsyncRead for After {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for After {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let all = [&std::mem::take(&mut self.header), octets].concat();
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &all))?;
        assert_eq!(written, all.len());
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_handshake_follows_the_header_in_the_same_segment() {
    let site = site();
    let (last, pieces) = HEADER.split_last().unwrap();
    let mut socket = site.socket().await;
    socket.set_nodelay(true).unwrap();
    for octet in pieces {
        socket.write_all(&[*octet]).await.unwrap();
    }
    let name = ServerName::try_from("site.test").unwrap();
    let connector = TlsConnector::from(Arc::new(site.client().config));
    let connected = connector.connect(name, After { socket, header: vec![*last] });
    let mut stream = timeout(PATIENCE, connected).await.unwrap().unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(body(&answer), "https 203.0.113.7:4711 at 192.0.2.1:443");
}

#[tokio::test]
async fn a_handshake_without_the_header_is_not_begun() {
    assert!(site().client().get("site.test").await.is_err());
}
