//! Certificates by name. A table never changes: another one replaces it.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;

use super::certificate::Certificate;

/// The certificates of a listener, by the name that a client asks for (SNI, RFC 6066 section 3).
#[derive(Debug, Default)]
pub struct CertificateTable {
    all: Vec<Arc<Certificate>>,
    /// By host name.
    exact: HashMap<String, Vec<Arc<Certificate>>>,
    /// `*.example.com` by `example.com`.
    wildcard: HashMap<String, Vec<Arc<Certificate>>>,
    /// For clients that name no host, or one that no certificate covers: the first certificate, and those with the same names.
    default: Vec<Arc<Certificate>>,
}

impl CertificateTable {
    /// The first certificate is the default. Of those for the same name, one with ECDSA is preferred to one with RSA, and otherwise the earlier one.
    #[must_use]
    pub fn new(all: Vec<Arc<Certificate>>) -> Self {
        let mut table = Self::default();
        for certificate in &all {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(certificate));
            }
        }
        if let Some(first) = all.first() {
            table.default = all
                .iter()
                .filter(|other| Arc::ptr_eq(first, other) || (!first.names.is_empty() && first.names == other.names))
                .cloned()
                .collect();
        }
        for certificates in table.exact.values_mut().chain(table.wildcard.values_mut()).chain([&mut table.default]) {
            certificates.sort_by_key(|certificate| certificate.is_rsa());
        }
        table.all = all;
        table
    }

    /// All of them, the default first.
    #[must_use]
    pub fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// The certificate for `name`, whatever signatures a client can verify.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.candidates(Some(name)).next()
    }

    /// The number of the policy about clients of this host: 0 for that of the listener.
    pub(super) fn policy_of(&self, host: &str) -> usize {
        self.find(host).map_or(0, |certificate| certificate.policy())
    }

    /// The certificate for a client that asks for `name` and can verify these signatures: one of this name, else one with a wildcard, else the default. If it can verify
    /// none of them, it gets the first one, and the handshake ends with an alert that says so.
    #[must_use]
    pub fn select(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Certificate>> {
        let mut candidates = self.candidates(name);
        candidates.clone().find(|certificate| certificate.key.key.choose_scheme(schemes).is_some()).or_else(|| candidates.next())
    }

    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Certificate>> + Clone {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        let wildcard = name.as_deref().and_then(|name| self.wildcard.get(name.split_once('.')?.1));
        [exact, wildcard, Some(&self.default)].into_iter().flatten().flatten()
    }
}
