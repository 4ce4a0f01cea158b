//! What stands between the socket of a listener and the protocol. Each transport turns a stream into a stream, and may correct the `ConnectionInfo`.

mod handshakes;
mod proxy_protocol;
#[cfg(feature = "experimental-http3")]
mod quic;
mod session;
mod stream;
mod tls;

use std::sync::Arc;

use ziggurat_middleware::Scheme;

use crate::tls::TlsServer;

pub(super) use handshakes::Handshakes;
pub use proxy_protocol::ProxyProtocolOptions;
pub(super) use proxy_protocol::accept as accept_proxy_protocol;
#[cfg(feature = "experimental-http3")]
pub(super) use quic::{QuicClient, QuicConnection, QuicEndpoint};
pub(super) use session::TlsSession;
pub(super) use tls::accept as accept_tls;

/// The chain of transports of a listener.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Transport {
    /// The PROXY protocol, in front of TLS; without it, the peer of a connection is the client.
    pub proxy_protocol: Option<Arc<ProxyProtocolOptions>>,
    /// TLS; without it, clear text.
    pub tls: Option<Arc<TlsServer>>,
}

impl PartialEq for Transport {
    /// Whether both have the same TLS, and not only equal options.
    fn eq(&self, other: &Self) -> bool {
        let is_tls_equal = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_tls_equal && self.proxy_protocol == other.proxy_protocol
    }
}

impl Eq for Transport {}

impl Transport {
    /// The scheme of requests that come over it.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self.tls {
            None => Scheme::Http,
            Some(_) => Scheme::Https,
        }
    }
}
