//! A client of WebSockets over HTTP/2 (RFC 8441), on the h2 crate itself.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Nothing a test waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which each WebSocket is a stream.
#[derive(Clone)]
pub(crate) struct Connection(pub(crate) SendRequest<Bytes>);

/// The stream of an accepted WebSocket.
#[derive(Debug)]
pub(crate) struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    rest: Bytes,
}

impl Connection {
    /// Connects, and waits until the server has said that it takes extended CONNECT.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        // The SETTINGS of the server come before the response to this.
        let (response, _) = sender.send_request(Request::get("http://test/").body(()).unwrap(), true).unwrap();
        let _ = tokio::time::timeout(PATIENCE, response).await.unwrap();
        assert!(sender.is_extended_connect_protocol_enabled());
        Self(sender)
    }

    /// Sends an extended CONNECT for this protocol with these headers.
    pub(crate) async fn connect(
        &self,
        path: &str,
        protocol: &'static str,
        headers: &[(&str, &str)],
    ) -> (Response<RecvStream>, SendStream<Bytes>) {
        let mut request = Request::builder().method(Method::CONNECT).uri(format!("http://test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(Protocol::from_static(protocol)).body(()).unwrap();
        let mut sender = self.0.clone().ready().await.unwrap();
        let (response, send) = sender.send_request(request, false).unwrap();
        (tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap(), send)
    }

    /// Asks for a WebSocket. The error is the response that refuses it.
    pub(crate) async fn websocket(&self, path: &str) -> Result<(Response<()>, WebSocketStream<Stream>), Response<RecvStream>> {
        let (response, send) = self.connect(path, "websocket", &[("sec-websocket-version", "13"), ("origin", "http://test")]).await;
        if response.status() != 200 {
            return Err(response);
        }
        let (parts, receive) = response.into_parts();
        let stream = Stream::new(send, receive);
        Ok((Response::from_parts(parts, ()), WebSocketStream::from_raw_socket(stream, Role::Client, None).await))
    }
}

impl Stream {
    pub(crate) const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, rest: Bytes::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        self.receive.flow_control().release_capacity(count).unwrap();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(octets.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = self.send.capacity().min(octets.len());
        let sent = self.send.send_data(Bytes::copy_from_slice(&octets[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}

/// Waits until the server has reset the stream, or refuses further octets.
pub(crate) async fn ended(mut receive: RecvStream, mut send: SendStream<Bytes>) -> Vec<u8> {
    let mut octets = Vec::new();
    let end = async {
        while let Some(Ok(data)) = receive.data().await {
            octets.extend_from_slice(&data);
        }
        poll_fn(|cx| send.poll_reset(cx)).await
    };
    let _ = tokio::time::timeout(PATIENCE, end).await.unwrap();
    octets
}
