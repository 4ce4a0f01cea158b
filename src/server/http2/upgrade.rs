//! WebSockets over HTTP/2 (RFC 8441): an extended CONNECT becomes a request as it is over HTTP/1.1, and the 101 of the stack becomes a 200.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ziggurat_middleware::{Body, Response};

use super::connect::ConnectIo;
use crate::server::refusal::Refusal;
use crate::server::tunnel::{Tunnel, TunnelHandle};
use crate::tunnel::key;

/// The stream of an extended CONNECT.
pub(in crate::server) struct ConnectStream {
    /// It has the stream after the 200.
    tunnel: Arc<Tunnel<ConnectIo>>,
    /// The key that the stack answers.
    key: HeaderValue,
}

/// Gives an extended CONNECT the form of an upgrade over HTTP/1.1 (RFC 6455 section 4.1): a GET with `Connection`, `Upgrade` and a key. Other requests are left
/// as they are.
///
/// # Errors
///
/// If it is for another protocol, or a plain CONNECT.
pub(in crate::server) fn accept(parts: &mut Parts) -> Result<Option<ConnectStream>, Refusal> {
    if parts.method != Method::CONNECT {
        return Ok(None);
    }
    let Some(protocol) = parts.extensions.remove::<Protocol>() else {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported"));
    };
    if protocol.as_str() != "websocket" {
        // RFC 9220 section 3.
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "the only supported :protocol is `websocket`"));
    }
    let Some(tunnel) = parts.extensions.remove::<Arc<Tunnel<ConnectIo>>>() else {
        return Err(Refusal::bad("the connection cannot be upgraded"));
    };
    let key = key::generate();
    parts.method = Method::GET;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.headers.insert(SEC_WEBSOCKET_KEY, key.clone());
    Ok(Some(ConnectStream { tunnel, key }))
}

impl ConnectStream {
    /// Whether a 101 of the stack answers the key.
    pub(in crate::server) fn is_answered_by(&self, response: &Response) -> bool {
        response.headers().get(SEC_WEBSOCKET_ACCEPT) == Some(&key::accept(&self.key))
    }

    /// What the stack finds in the extensions of the request.
    pub(in crate::server) fn on_upgrade(&self) -> impl Future<Output = Option<OnUpgrade>> + use<> {
        on_upgrade(TunnelHandle(Arc::clone(&self.tunnel)))
    }

    /// Makes the 200 of a 101.
    pub(in crate::server) fn succeed(response: &mut Response) -> Body {
        *response.status_mut() = StatusCode::OK;
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        std::mem::take(response.body_mut())
    }

    /// Waits for the end of the stream, and closes it.
    pub(in crate::server) async fn run(self, idle: std::time::Duration, cut: impl Future<Output = ()>) {
        /// Closes the stream wherever this task ends.
        struct Closed(Arc<Tunnel<ConnectIo>>);
        impl Drop for Closed {
            fn drop(&mut self) {
                drop(self.0.take());
            }
        }
        let closed = Closed(self.tunnel);
        let end = closed.0.ended(idle, cut).await;
        closed.0.close().await;
        tracing::debug!("an upgraded stream has ended: {end:?}");
    }
}

/// The stream while hyper takes it for a connection to an HTTP/1.1 server that accepts an upgrade.
struct Upgrading {
    handle: TunnelHandle<ConnectIo>,
    /// The rest of the response. It is there once the request has been written.
    head: &'static [u8],
    has_request: bool,
    /// Octets of the new protocol have been written.
    has_written: bool,
    reader: Option<Waker>,
}

/// An `OnUpgrade` of the handle. hyper makes one only at the end of an exchange over HTTP/1.1, so there is an exchange with nobody.
async fn on_upgrade(handle: TunnelHandle<ConnectIo>) -> Option<OnUpgrade> {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let stream = Upgrading { handle, head, has_request: false, has_written: false, reader: None };
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/").header(CONNECTION, "upgrade").header(UPGRADE, "websocket").body(Body::empty()).ok()?;
    let (response, upgraded) = tokio::join!(sender.send_request(request), connection.with_upgrades());
    upgraded.ok()?;
    response.ok().map(hyper::upgrade::on)
}

impl AsyncRead for Upgrading {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.head.is_empty() {
            return this.handle.0.poll_read(cx, buf);
        }
        if !this.has_request {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (now, rest) = this.head.split_at(this.head.len().min(buf.remaining()));
        buf.put_slice(now);
        this.head = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgrading {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.head.is_empty() {
            let outcome = self.handle.0.poll_write(cx, |stream, cx| stream.poll_write(cx, octets));
            self.has_written |= outcome.is_ready();
            return outcome;
        }
        self.has_request = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes before it gives the stream away.
        if self.has_written { self.handle.0.poll_write(cx, AsyncWrite::poll_flush) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.head.is_empty() { self.handle.0.poll_write(cx, AsyncWrite::poll_shutdown) } else { Poll::Ready(Ok(())) }
    }
}
