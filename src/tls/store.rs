//! The certificates of a listener while it serves: where they come from may change any of them at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::table::CertificateTable;

/// The certificates of one listener.
///
/// They come from sources, each of which replaces its own with [`CertificateStore::put`]: the files that the options name, and ACME. What a source puts there is
/// served from the next handshake on. Connections go on with the certificate that they have.
#[derive(Debug)]
pub struct CertificateStore {
    table: ArcSwap<CertificateTable>,
    parts: Mutex<BTreeMap<Source, Vec<Arc<Certificate>>>>,
    challenges: ArcSwapOption<Hook>,
}

/// Who puts certificates into a store. The default certificate is that of the first source that has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The files that the options name.
    Files,
    /// An authority (RFC 8555).
    Acme,
}

/// Answers challenges of the kind TLS-ALPN-01 (RFC 8737).
pub trait Challenges: Send + Sync {
    /// The certificate that proves control of `name`, a host name in lower case; `None` if no challenge for it is pending. It is asked in the middle of a handshake,
    /// on a thread where it may block.
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>>;
}

struct Hook(Arc<dyn Challenges>);

/// The protocol of such a challenge (RFC 8737 section 6.2).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

impl Default for CertificateStore {
    fn default() -> Self {
        Self::new()
    }
}

impl CertificateStore {
    /// A store without certificates.
    #[must_use]
    pub fn new() -> Self {
        Self { table: ArcSwap::default(), parts: Mutex::default(), challenges: ArcSwapOption::empty() }
    }

    /// Replaces all certificates of a source.
    pub fn put(&self, source: Source, certificates: Vec<Arc<Certificate>>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(source, certificates);
        // Under the lock, so that the table is that of the last change.
        self.table.store(Arc::new(CertificateTable::new(parts.values().flatten().cloned().collect())));
    }

    /// The certificates in use.
    #[must_use]
    pub fn table(&self) -> Guard<Arc<CertificateTable>> {
        self.table.load()
    }

    /// Has challenges of the kind TLS-ALPN-01 answered from now on. The handshake of such a challenge never reaches HTTP.
    pub fn answer_challenges(&self, challenges: Arc<dyn Challenges>) {
        self.challenges.store(Some(Arc::new(Hook(challenges))));
    }

    /// The name that a challenge is about, if somebody answers challenges, and the client offers nothing but their protocol.
    pub(super) fn challenged<'a>(&self, hello: &'a ClientHello<'_>) -> Option<&'a str> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(ACME_TLS) || offered.next().is_some() || self.challenges.load().is_none() {
            return None;
        }
        hello.server_name()
    }

    /// The certificate for a challenge. May block.
    pub(super) fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges.load().as_ref()?.0.certificate(name)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        table.select(hello.server_name(), hello.signature_schemes()).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
