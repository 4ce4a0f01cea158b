//! QUIC (RFC 9000), which has TLS inside: the endpoint of a listener, and the handshakes on it.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, EndpointConfig, IdleTimeout, Incoming, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::{ConnectionInfo, TlsInfo};

use super::handshakes::Failure;
use super::session::TlsSession;
use super::tls::openssl_name;
use crate::server::connection_table::ConnectionGuard;
use crate::server::limits::Limits;
use crate::server::listen::Listen;
use crate::server::service::Client;
use crate::server::socket::canonical;
use crate::server::stream_task::{CONNECTION_WINDOW, STREAM_WINDOW, STREAMS};
use crate::tls::{HandshakeRecord, TlsServer, client_certificate};

/// The protocol in TLS (RFC 9114 section 3.1).
const PROTOCOL: &[u8] = b"h3";

/// Streams in one direction that a client may have open: three of HTTP/3, and reserved ones that do nothing.
const ONE_WAY_STREAMS: u32 = 8;

/// The most that is kept of the responses of one connection until the client acknowledges it.
const SEND_WINDOW: u64 = 1 << 20;

/// Clients that wait to be accepted, and what is kept of what they send meanwhile: of one, and of all.
const WAITING: usize = 128;
const WAITING_BUFFER: u64 = 64 << 10;
const WAITING_BUFFERS: u64 = 4 << 20;

/// A client that is not heard of for so long is gone. It is asked in time, so that an app may take longer to respond.
const SILENCE: Duration = Duration::from_secs(30);
const QUESTION: Duration = Duration::from_secs(12);

/// The UDP socket of a listener, and the connections on it. They outlive this value.
pub(in crate::server) struct QuicEndpoint {
    endpoint: quinn::Endpoint,
    config: quinn::ServerConfig,
    next: Pin<Box<dyn Future<Output = Option<Incoming>> + Send>>,
    local: SocketAddr,
    /// Cancelled when the listener closes.
    closing: CancellationToken,
}

/// A client that begins a connection, and what all connections of its endpoint have in common.
pub(in crate::server) struct QuicClient {
    incoming: Incoming,
    config: quinn::ServerConfig,
    /// The address of the endpoint.
    local: SocketAddr,
    closing: CancellationToken,
}

/// A connection after its handshake.
pub(in crate::server) struct QuicConnection {
    pub(in crate::server) connection: Connection,
    pub(in crate::server) info: ConnectionInfo,
    pub(in crate::server) tls: Arc<TlsSession>,
    /// Cancelled when the listener is closed: the connection is to end with its requests, because it keeps the port.
    pub(in crate::server) closing: CancellationToken,
}

impl QuicEndpoint {
    /// Must be called inside the runtime.
    pub(in crate::server) fn open(socket: UdpSocket, tls: &TlsServer) -> io::Result<Self> {
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto(tls.config(&[PROTOCOL]))?));
        config.max_incoming(WAITING).incoming_buffer_size(WAITING_BUFFER).incoming_buffer_size_total(WAITING_BUFFERS);
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), Some(config.clone()), socket, Arc::new(TokioRuntime))?;
        Ok(Self { next: next(&endpoint), local: endpoint.local_addr()?, closing: CancellationToken::new(), endpoint, config })
    }

    /// The next client.
    pub(in crate::server) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<QuicClient> {
        let Poll::Ready(Some(incoming)) = self.next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = next(&self.endpoint);
        Poll::Ready(QuicClient { incoming, config: self.config.clone(), local: self.local, closing: self.closing.clone() })
    }

    /// What is needed to wait for the end of its connections.
    pub(in crate::server) fn handle(&self) -> quinn::Endpoint {
        self.endpoint.clone()
    }
}

impl Drop for QuicEndpoint {
    fn drop(&mut self) {
        // Requests go on.
        self.endpoint.set_server_config(None);
        self.closing.cancel();
    }
}

fn next(endpoint: &quinn::Endpoint) -> Pin<Box<dyn Future<Output = Option<Incoming>> + Send>> {
    let endpoint = endpoint.clone();
    Box::pin(async move { endpoint.accept().await })
}

fn crypto(config: rustls::ServerConfig) -> io::Result<QuicServerConfig> {
    config.try_into().map_err(io::Error::other)
}

impl QuicClient {
    /// Asks the client to show that its address is its own, and drops it, if it has not done so. It comes again.
    pub(in crate::server) fn ask_for_address(self) -> Option<Self> {
        if !self.incoming.may_retry() {
            return Some(self);
        }
        // That it may retry was asked before.
        let _ = self.incoming.retry();
        None
    }

    /// Does the handshake. `None` if the connection is over.
    pub(in crate::server) async fn accept(
        self,
        listen: &Listen,
        tls: &Arc<TlsServer>,
        limits: &Limits,
        guard: &ConnectionGuard,
    ) -> Option<QuicConnection> {
        let (handshakes, accepted) = (guard.handshakes(), Instant::now());
        let info = self.info(listen);
        let (config, record) = tls.recorded(&[PROTOCOL]);
        let mut server = self.config;
        server.crypto = Arc::new(crypto(config).ok()?);
        server.transport_config(Arc::new(transport(limits)));
        let fail = |failure, cause: &str| handshakes.fail(failure, listen, &Client(&info), cause);
        let connecting = match self.incoming.accept_with(Arc::new(server)) {
            Ok(connecting) => connecting,
            Err(error) => {
                fail(failure(&error, &record), &error.to_string());
                return None;
            }
        };
        let under_way = handshakes.begin(limits.handshakes);
        let outcome = tokio::select! {
            outcome = timeout(limits.handshake_timeout, connecting) => outcome,
            () = under_way.evicted() => {
                fail(Failure::Evicted, "");
                return None;
            }
            () = guard.makes_room(accepted) => return None,
        };
        drop(under_way);
        let connection = match outcome {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                fail(failure(&error, &record), &error.to_string());
                return None;
            }
            Err(_) => {
                fail(Failure::TooSlow, "");
                return None;
            }
        };
        let certificate = record.certificate()?;
        let chain = connection.peer_identity().and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.as_deref().map(Vec::as_slice);
        if !tls.accepts_again(chain, certificate) {
            fail(Failure::ClientCertificate, "its session was begun with a certificate that is not accepted any more");
            return None;
        }
        handshakes.complete(record.is_resumed());
        let facts = TlsInfo {
            protocol: "TLSv1.3".into(),
            cipher: record.cipher().map_or("", openssl_name).into(),
            server_name: record.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into()),
            is_resumed: record.is_resumed(),
            client: chain.and_then(|chain| client_certificate(chain.first()?, tls.exports_clients(certificate))).map(Arc::new),
        };
        let user = facts.client.as_ref().and_then(|client| tls.user_of(client, certificate));
        let session = TlsSession::new(facts, user, Arc::clone(certificate), Arc::clone(tls));
        Some(QuicConnection { connection, info, tls: Arc::new(session), closing: self.closing })
    }

    /// The client keeps its address in here when it moves to another one.
    fn info(&self, listen: &Listen) -> ConnectionInfo {
        let peer = canonical(self.incoming.remote_address());
        let local = canonical((self.incoming.local_ip().unwrap_or(self.local.ip()), self.local.port()).into());
        ConnectionInfo {
            client: Some(peer.ip()),
            client_port: Some(peer.port()),
            scheme: listen.transport.scheme(),
            server_port: None,
            local: Some(local),
            is_vetted: false,
        }
    }
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle(SILENCE.max(limits.handshake_timeout))))
        .keep_alive_interval(Some(QUESTION));
    transport
}

/// No time of a file is too long for a variable-length integer of milliseconds.
fn idle(time: Duration) -> IdleTimeout {
    time.try_into().unwrap_or_else(|_| VarInt::MAX.into())
}

fn failure(error: &ConnectionError, record: &HandshakeRecord) -> Failure {
    // Alerts of TLS (RFC 8446 section 6) as errors of QUIC (RFC 9001 section 4.8): about the certificate of the client.
    const CRYPTO: u64 = 0x100;
    const CERTIFICATE: [u64; 8] = [42, 43, 44, 45, 46, 48, 51, 116];
    match error {
        ConnectionError::TransportError(_) if record.has_no_certificate() => Failure::NoCertificate,
        ConnectionError::TransportError(error) if CERTIFICATE.map(|alert| CRYPTO + alert).contains(&u64::from(error.code)) => {
            Failure::ClientCertificate
        }
        ConnectionError::ConnectionClosed(close) if (CRYPTO..CRYPTO + 0x100).contains(&u64::from(close.error_code)) => Failure::Alert,
        ConnectionError::TimedOut => Failure::TooSlow,
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => Failure::Protocol,
        _ => Failure::Closed,
    }
}
