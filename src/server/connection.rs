//! A connection: a socket, through the transports of its listener, to the protocol.

use std::sync::Arc;

#[cfg(feature = "experimental-http3")]
use super::acceptor::NewClient;
use super::bound_listener::{Accepted, OpenGuard};
use super::connection_table::ConnectionGuard;
use super::gateway;
use super::generation::CurrentGeneration;
use super::http;
#[cfg(feature = "experimental-http3")]
use super::http3;
use super::io::{Connection, Io, Versions};
use super::limits::Limits;
#[cfg(feature = "experimental-http3")]
use super::listen::Listen;
use super::listen::Protocol;
#[cfg(feature = "experimental-http3")]
use super::progress::Progress;
#[cfg(feature = "experimental-http3")]
use super::service::RequestService;
use super::transport;
#[cfg(feature = "experimental-http3")]
use super::transport::{QuicClient, QuicConnection};

/// Serves one client until its connection ends.
pub(super) async fn run(
    accepted: Accepted,
    _counted: OpenGuard,
    current: Arc<CurrentGeneration>,
    limits: Arc<Limits>,
    guard: ConnectionGuard,
) {
    let Accepted { client, listen, .. } = accepted;
    #[cfg(feature = "experimental-http3")]
    let client = match client {
        NewClient::Quic(client) => return run_quic(*client, &listen, current, limits, guard).await,
        socket => socket,
    };
    let Some(mut socket) = client.socket() else { return };
    // This fails if the client has disconnected.
    let Ok(mut info) = socket.info(listen.transport.scheme()) else { return };
    // It is the front server that is trusted, whatever client a PROXY protocol header names.
    if listen.protocol != Protocol::Http && !gateway::is_trusted(&listen, &info, &guard) {
        return;
    }
    if let Some(options) = &listen.transport.proxy_protocol
        && !Box::pin(transport::accept_proxy_protocol(&mut socket, &mut info, options, &listen, &guard)).await
    {
        return;
    }
    match &listen.transport.tls {
        None => {
            let versions = match (listen.http.has_http1(), listen.http.has_http2()) {
                (true, true) => Versions::Any,
                (true, false) => Versions::Http1,
                (false, _) => Versions::Http2,
            };
            serve(Connection { stream: socket, info, tls: None, versions, offers_http3: false }, listen.protocol, current, limits, guard)
                .await
        }
        Some(tls) => {
            // The memory of the handshake is freed after it.
            let accepted = Box::pin(transport::accept_tls(socket, info, &listen, tls, &limits, &guard)).await;
            if let Some(connection) = accepted {
                serve(connection, listen.protocol, current, limits, guard).await;
            }
        }
    }
}

/// Serves a client over UDP.
#[cfg(feature = "experimental-http3")]
async fn run_quic(client: QuicClient, listen: &Listen, current: Arc<CurrentGeneration>, limits: Arc<Limits>, guard: ConnectionGuard) {
    let Some(tls) = &listen.transport.tls else { return };
    let Some(connection) = Box::pin(client.accept(listen, tls, &limits, &guard)).await else { return };
    let QuicConnection { connection, info, tls, closing } = connection;
    let progress = Arc::new(Progress::new(guard));
    let service = RequestService::new(current, info, Some(tls), false, Arc::clone(&limits), Arc::clone(&progress));
    Box::pin(http3::run(connection, closing, Arc::new(service), limits, progress)).await;
}

/// Serves a client behind all transports.
async fn serve<S: Io>(
    connection: Connection<S>,
    protocol: Protocol,
    current: Arc<CurrentGeneration>,
    limits: Arc<Limits>,
    guard: ConnectionGuard,
) {
    match protocol {
        Protocol::Http => http::serve(connection, current, limits, guard).await,
        Protocol::FastCgi | Protocol::Scgi | Protocol::Uwsgi => gateway::serve(connection, protocol, current, limits, guard).await,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tower::service_fn;
    use ziggurat_middleware::{Body, ConnectionInfo, Next, Place, Request, Response, Scheme};

    use super::*;
    use crate::server::Options;
    use crate::server::connection_table::ConnectionTable;
    use crate::server::generation::Generation;

    impl Io for DuplexStream {
        fn has_unread(&self) -> bool {
            false
        }

        fn write_now(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }

        fn sent(&self) -> u64 {
            0
        }

        fn abort_on_close(&self) {}
    }

    /// Responds with the scheme and the client, and echoes octets after an upgrade.
    async fn app(mut request: Request) -> Result<Response, Infallible> {
        if request.headers().contains_key("upgrade") {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let response = ::http::Response::builder().status(101).header("upgrade", "echo").body(Body::empty());
            return Ok(response.unwrap());
        }
        let info = request.extensions().get::<ConnectionInfo>().unwrap();
        Ok(Response::new(Body::from(format!("{} {}", info.scheme.as_str(), info.client.unwrap()))))
    }

    /// The client's end of a connection as a transport gives it to the protocol.
    fn connect() -> DuplexStream {
        let (client, stream) = duplex(1 << 10);
        let info = ConnectionInfo {
            client: Some([192, 0, 2, 7].into()),
            client_port: Some(4711),
            scheme: Scheme::Https,
            server_port: None,
            local: None,
            is_vetted: false,
        };
        let table = Arc::new(ConnectionTable::new());
        let (generation, _) = Generation::new(1, Next::new(&Place::new("app"), service_fn(app)), &table);
        let current = Arc::new(CurrentGeneration::new(generation));
        let limits = Arc::new(Limits::from(&Options::default()));
        tokio::spawn(serve(
            Connection { stream, info, tls: None, versions: Versions::Any, offers_http3: false },
            Protocol::Http,
            current,
            limits,
            table.insert(0),
        ));
        client
    }

    async fn read_until(client: &mut DuplexStream, end: &str) -> String {
        let mut octets = Vec::new();
        while !octets.ends_with(end.as_bytes()) {
            octets.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(octets).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn http1_and_upgrades_run_over_any_stream() {
        let mut client = connect();
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(read_until(&mut client, "https 192.0.2.7").await.starts_with("HTTP/1.1 200 OK\r\n"));
            // The connection loses its parser meanwhile.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nat once, ").await.unwrap();
        assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        client.write_all(b"and later").await.unwrap();
        assert_eq!(read_until(&mut client, "later").await, "at once, and later");
    }

    #[tokio::test]
    async fn http2_runs_over_any_stream() {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connect())).await.unwrap();
        tokio::spawn(connection);
        let request = ::http::Request::get("https://a/").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "https 192.0.2.7");
    }
}
