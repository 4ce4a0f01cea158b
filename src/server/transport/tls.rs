//! The TLS handshake of a connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::server::Acceptor;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use ziggurat_middleware::{ConnectionInfo, TlsInfo};

use super::handshakes::Failure;
use super::session::TlsSession;
use super::stream::TlsStream;
use crate::server::connection_table::ConnectionGuard;
use crate::server::http1;
use crate::server::io::{Connection, Versions};
use crate::server::limits::{GRACE, Limits};
use crate::server::listen::Listen;
use crate::server::refusal::Refusal;
use crate::server::service::Client;
use crate::server::socket::Socket;
use crate::tls::{Certificate, TlsServer, client_certificate};

const CLEAR_TEXT: Refusal = Refusal::bad("this port speaks TLS: the address begins with https://");

/// The type of a record with a handshake message (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;

/// The alert to a client for which there is no certificate (RFC 6066 section 3).
const UNRECOGNIZED_NAME: &[u8] = &[0x15, 3, 3, 0, 2, 2, 112];

/// What rustls may hold of a connection in each direction: about one record.
const BUFFER: usize = 16 << 10;

/// Does the handshake with a client. `None` if the connection is over.
pub(in crate::server) async fn accept(
    socket: Socket,
    info: ConnectionInfo,
    listen: &Listen,
    tls: &Arc<TlsServer>,
    limits: &Limits,
    guard: &ConnectionGuard,
) -> Option<Connection<TlsStream<Socket>>> {
    let handshakes = guard.handshakes();
    let fail = |failure, cause: &str| handshakes.fail(failure, listen, &Client(&info), cause);
    let accepted = Instant::now();
    let deadline = accepted + limits.handshake_timeout;
    match first_octet(&socket, accepted, deadline, guard).await {
        First::Octet(HANDSHAKE) => {}
        First::Octet(octet) => {
            let failure = if octet.is_ascii_alphabetic() { Failure::ClearText } else { Failure::NoTls };
            fail(failure, "");
            if failure == Failure::ClearText {
                http1::refuse_connection(socket, CLEAR_TEXT).await;
            }
            return None;
        }
        // A probe of a load balancer, for instance.
        First::Closed => return None,
        First::TooSlow => {
            fail(Failure::TooSlow, "it has sent nothing");
            return None;
        }
    }
    let under_way = handshakes.begin(limits.handshakes);
    let handshake = pin!(timeout_at(deadline, handshake(socket, tls)));
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = under_way.evicted() => {
            fail(Failure::Evicted, "");
            return None;
        }
        () = guard.makes_room(accepted) => return None,
    };
    drop(under_way);
    match outcome {
        Err(_) => fail(Failure::TooSlow, ""),
        Ok(Err(Refused(failure, cause))) => fail(failure, &cause),
        Ok(Ok(None)) => tracing::info!("answered a challenge for a certificate, from {}", Client(&info)),
        Ok(Ok(Some((stream, certificate)))) => {
            let session = stream.get_ref().1;
            let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            if is_resumed && !tls.accepts_again(session.peer_certificates(), &certificate) {
                fail(Failure::ClientCertificate, "its session was begun with a certificate that is not accepted any more");
                return None;
            }
            handshakes.complete(is_resumed);
            let is_http2 = session.alpn_protocol() == Some(b"h2") || !listen.http.has_http1();
            let versions = if is_http2 { Versions::Http2 } else { Versions::Http1 };
            let policy = certificate.policy();
            let facts = tls_info(session, is_resumed, tls.exports_clients(&certificate));
            let user = facts.client.as_ref().and_then(|client| tls.user_of(client, &certificate));
            let tls = Some(Arc::new(TlsSession::new(facts, user, certificate, Arc::clone(tls))));
            // HTTP/3 is under the policy of the listener.
            let offers_http3 = listen.http.has_http3() && policy == 0;
            return Some(Connection { stream: TlsStream::new(stream), info, tls, versions, offers_http3 });
        }
    }
    None
}

enum First {
    Octet(u8),
    Closed,
    TooSlow,
}

/// Waits for the first octet of a client, and leaves it in the socket. A silent client costs no more than its socket.
async fn first_octet(socket: &Socket, accepted: Instant, deadline: Instant, guard: &ConnectionGuard) -> First {
    let (mut timeout, mut grace) = (pin!(sleep_until(deadline)), pin!(sleep_until(accepted + GRACE)));
    poll_fn(|cx| {
        match socket.poll_first_octet(cx) {
            Poll::Ready(Ok(Some(octet))) => return Poll::Ready(First::Octet(octet)),
            Poll::Ready(_) => return Poll::Ready(First::Closed),
            Poll::Pending => {}
        }
        if guard.should_close(cx.waker()) && grace.as_mut().poll(cx).is_ready() {
            return Poll::Ready(First::Closed);
        }
        timeout.as_mut().poll(cx).map(|()| First::TooSlow)
    })
    .await
}

struct Refused(Failure, String);

type Handshaken = Option<(tokio_rustls::server::TlsStream<Socket>, Arc<Certificate>)>;

/// `None` after a challenge.
async fn handshake(socket: Socket, tls: &TlsServer) -> Result<Handshaken, Refused> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(refused)?;
    let challenge = match tls.challenged(&start.client_hello()) {
        Some(name) => tls.challenge(name).await,
        None => None,
    };
    let (config, certificate) = if let Some(config) = challenge {
        (config, None)
    } else if let Some((config, certificate)) = tls.begin(&start.client_hello()) {
        (config, Some(certificate))
    } else {
        let name = start.client_hello().server_name().map(|name| format!("it asked for `{name}`"));
        let _ = start.io.write_all(UNRECOGNIZED_NAME).await;
        return Err(Refused(Failure::NoCertificate, name.unwrap_or_default()));
    };
    let limit = |session: &mut ServerConnection| session.set_buffer_limit(Some(BUFFER));
    let mut stream = start.into_stream_with(config, limit).await.map_err(refused)?;
    match certificate {
        Some(certificate) => Ok(Some((stream, certificate))),
        None => {
            // The authority has seen what it wanted.
            let _ = stream.shutdown().await;
            Ok(None)
        }
    }
}

fn refused(error: io::Error) -> Refused {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Refused(Failure::Closed, String::new());
    };
    let failure = match tls {
        rustls::Error::AlertReceived(_) => Failure::Alert,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Failure::ClientCertificate,
        _ => Failure::Protocol,
    };
    Refused(failure, tls.to_string())
}

fn tls_info(session: &ServerConnection, is_resumed: bool, exports_client: bool) -> TlsInfo {
    let protocol = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let cipher = session.negotiated_cipher_suite().map_or("", |suite| openssl_name(suite.suite()));
    let server_name = session.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
    let client = session.peer_certificates().and_then(|chain| client_certificate(chain.first()?, exports_client)).map(Arc::new);
    TlsInfo { protocol: protocol.into(), cipher: cipher.into(), server_name, is_resumed, client }
}

/// The name that OpenSSL has for a cipher suite, and with it mod_ssl.
pub(super) const fn openssl_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        // OpenSSL has the names of RFC 8446.
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "",
    }
}
