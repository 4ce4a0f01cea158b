//! What a handshake has chosen, for libraries that do the handshake and do not tell.
//!
//! quinn is one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm, SignatureScheme};

use super::certificate::Certificate;
use super::store::CertificateStore;

/// The choices of one TLS 1.3 handshake, known once it is complete.
#[derive(Debug, Default)]
pub(crate) struct HandshakeRecord {
    chosen: OnceLock<Chosen>,
    is_signed: AtomicBool,
}

#[derive(Debug)]
struct Chosen {
    name: Option<String>,
    cipher: Option<CipherSuite>,
    certificate: Option<Arc<Certificate>>,
}

impl HandshakeRecord {
    /// Has the handshakes under `config` recorded. There may be only one.
    pub(super) fn of(config: &mut ServerConfig, store: &Arc<CertificateStore>) -> Arc<Self> {
        let record = Arc::<Self>::default();
        let suites = config.crypto_provider().cipher_suites.iter().filter(|suite| suite.tls13().is_some());
        let suites = suites.map(rustls::SupportedCipherSuite::suite).collect();
        config.cert_resolver = Arc::new(Recorder { store: Arc::clone(store), suites, record: Arc::clone(&record) });
        record
    }

    /// The host name that the client has asked for, as it has written it.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.chosen.get()?.name.as_deref()
    }

    /// The certificate that the client got.
    pub(crate) fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.chosen.get()?.certificate.as_ref()
    }

    /// The cipher suite: of those that both have, the one that the client prefers.
    pub(crate) fn cipher(&self) -> Option<CipherSuite> {
        self.chosen.get()?.cipher
    }

    /// Whether a client has said hello, and there was no certificate for it.
    pub(crate) fn has_no_certificate(&self) -> bool {
        self.chosen.get().is_some_and(|chosen| chosen.certificate.is_none())
    }

    /// Whether a session was resumed: the server signs nothing then.
    pub(crate) fn is_resumed(&self) -> bool {
        !self.is_signed.load(Relaxed)
    }
}

/// Chooses the certificate, and notes it. The configuration is that of the listener's policy about clients, so certificates with a policy of their own are not there.
struct Recorder {
    store: Arc<CertificateStore>,
    suites: Vec<CipherSuite>,
    record: Arc<HandshakeRecord>,
}

impl ResolvesServerCert for Recorder {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.store.table();
        let certificate =
            table.select(hello.server_name(), hello.signature_schemes()).filter(|certificate| certificate.policy() == 0).cloned();
        let cipher = hello.cipher_suites().iter().find(|suite| self.suites.contains(suite)).copied();
        let key = certificate.as_ref().map(|certificate| {
            let mut key = CertifiedKey::clone(&certificate.key);
            key.key = Arc::new(RecordedKey { key: key.key, record: Arc::clone(&self.record) });
            Arc::new(key)
        });
        // A second hello follows a request for another key share, and asks for the same.
        let _ = self.record.chosen.set(Chosen { name: hello.server_name().map(str::to_owned), cipher, certificate });
        key
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// A key whose use is noted.
#[derive(Debug)]
struct RecordedKey {
    key: Arc<dyn SigningKey>,
    record: Arc<HandshakeRecord>,
}

impl SigningKey for RecordedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.record.is_signed.store(true, Relaxed);
        self.key.choose_scheme(offered)
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
