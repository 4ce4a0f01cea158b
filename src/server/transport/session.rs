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

    /// Whether a request does not belong on this connection (RFC 9110 section 15.5.20):
    ///
    /// - Its host has another policy about certificates of clients than the connection began under.
    /// - Its host is not the one that the client has asked TLS for, and the certificate is not for it. A client that has not named a host to TLS, as a health check by
    ///   address, would get the same certificate again, and is served.
    pub(in crate::server) fn is_misdirected(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
        let host = without_port(host).trim_end_matches('.');
        if self.server.policy_of(host) != self.certificate.policy() {
            return true;
        }
        let Some(name) = &self.info.server_name else { return false };
        !host.eq_ignore_ascii_case(name) && !self.certificate.covers(&host.to_ascii_lowercase())
    }
}

/// The host of an authority.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_part_of_the_host() {
        for (authority, host) in
            [("a.test", "a.test"), ("a.test:8443", "a.test"), ("[::1]", "[::1]"), ("[::1]:443", "[::1]"), ("a.test:", "a.test")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
