//! The TLS of a connection, as far as requests depend on it.

use std::sync::Arc;

use http::HeaderValue;
use ziggurat_middleware::{RemoteUser, TlsInfo};

use crate::tls::{Certificate, TlsServer};

/// What TLS has negotiated with a client.
pub(in crate::server) struct TlsSession {
    pub(in crate::server) info: TlsInfo,
    /// The user that the client's certificate names.
    pub(in crate::server) user: Option<RemoteUser>,
    /// The certificate that the client got.
    certificate: Arc<Certificate>,
    server: Arc<TlsServer>,
}

impl TlsSession {
    pub(in crate::server) const fn new(
        info: TlsInfo,
        user: Option<RemoteUser>,
        certificate: Arc<Certificate>,
        server: Arc<TlsServer>,
    ) -> Self {
        Self { info, user, certificate, server }
    }

    /// Whether a request for this host does not belong on this connection.
    pub(in crate::server) fn is_misdirected(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
        self.certificate.misdirects(host, self.info.server_name.as_deref(), |host| self.server.policy_of(host))
    }
}
