//! TLS: certificates, policies about clients, ticket keys. It knows no sockets and no HTTP.
//!
//! [`TlsServer`] is the TLS of one listener. It is made of [`TlsOptions`], has a [`CertificateStore`], and says how to go on after the hello of a client. The server
//! takes it in a `Transport` and does the handshake.
//!
//! # Certificates from elsewhere
//!
//! A store has sources. The files that the options name are one of them. Another one, such as ACME, gets the store of a listener with [`TlsServer::store`] and
//!
//! - makes a [`Certificate`] of a chain and a key with [`Certificate::new`] (the provider is [`TlsServer::provider`]) and puts all that it has into the store with
//!   [`CertificateStore::put`]. They are served from the next handshake on, over HTTP/3 too. A listener without any certificate refuses handshakes and goes on when
//!   there is one.
//! - gives [`CertificateStore::answer_challenges`] the certificates of `acme-tls/1` challenges (RFC 8737). Only a client that offers this protocol alone is asked about. It
//!   needs no further configuration, and such a connection ends after its handshake.
//!
//! # Other protocols
//!
//! [`TlsServer::config`] is a configuration of rustls for other protocols (`h3`) over the same store, policy and ticket keys. It is a snapshot: the policy changes when
//! the file of a revocation list changes.

mod access;
mod acme;
mod certificate;
mod client_policy;
mod direction;
mod files;
#[cfg(fuzzing)]
mod fuzz;
#[cfg(feature = "experimental-http3")]
mod handshake_record;
mod loaded;
mod options;
mod peer;
pub(crate) mod pem;
mod policy;
pub(crate) mod root_reader;
mod self_signed;
mod server;
pub(crate) mod status;
mod store;
mod survey;
mod table;
mod tickets;
mod watch;

pub use access::FileAccess;
pub(crate) use acme::AcmeSource;
pub use certificate::{Certificate, Unusable};
#[cfg(fuzzing)]
pub use fuzz::FuzzCertificates;
#[cfg(feature = "experimental-http3")]
pub(crate) use handshake_record::HandshakeRecord;
pub use options::TlsOptions;
pub(crate) use peer::client_certificate;
pub(crate) use self_signed::self_signed;
pub use server::TlsServer;
pub use store::{CertificateStore, Challenges, Source};
pub(crate) use survey::Handshake;
pub use table::CertificateTable;
pub use tickets::Tickets;
pub(crate) use watch::watch;
