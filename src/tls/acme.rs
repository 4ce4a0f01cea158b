//! Certificates of an authority (`acme`) for one listener.

use std::fmt;
use std::sync::{Arc, Weak};

use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::store::{CertificateStore, Challenges, Source};
use crate::acme::{CertificateSink, Manager};

/// Puts the certificates of a manager into the store of a listener, and answers challenges there.
pub(crate) struct AcmeSource {
    manager: Manager,
    store: Weak<CertificateStore>,
    names: Vec<String>,
}

impl AcmeSource {
    /// Serves these names from now on, as long as the listener has its store.
    pub(crate) fn attach(manager: &Manager, store: &Arc<CertificateStore>, names: Vec<String>) {
        let source = Arc::new(Self { manager: manager.clone(), store: Arc::downgrade(store), names });
        let (sink, challenges) = (Arc::clone(&source), source);
        // The store owns it.
        store.answer_challenges(challenges);
        manager.attach(&(sink as Arc<dyn CertificateSink>));
    }
}

impl CertificateSink for AcmeSource {
    fn changed(&self) {
        let Some(store) = self.store.upgrade() else { return };
        let ready = self.names.iter().filter_map(|name| Some((name, self.manager.certificate(name)?)));
        let certificates = ready.filter_map(|(name, key)| match Certificate::of(key, "acme") {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                tracing::error!(name, "cannot serve the certificate from the authority: {error}");
                None
            }
        });
        store.put(Source::Acme, certificates.collect());
    }
}

impl Challenges for AcmeSource {
    /// It reads a file of at most a few hundred octets, and only for a name of this listener: any process that shares the store may have left the answer.
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.names.iter().any(|own| own == name).then(|| self.manager.challenge(name)).flatten()
    }
}

impl fmt::Debug for AcmeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeSource").field("names", &self.names).finish_non_exhaustive()
    }
}
