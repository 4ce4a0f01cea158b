//! The TLS of one listener.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, ServerConfig};
use ziggurat_middleware::Findings;

use super::certificate::Certificate;
use super::files;
use super::options::TlsOptions;
use super::policy::Policy;
use super::store::{ACME_TLS, CertificateStore, Source};
use super::tickets::Tickets;

/// What a listener with TLS serves: certificates, and a policy about clients. Both change while it serves; connections keep what they began with.
#[derive(Debug)]
pub struct TlsServer {
    provider: Arc<CryptoProvider>,
    store: Arc<CertificateStore>,
    policy: ArcSwap<Policy>,
}

/// How the handshake of a client goes on after its hello.
pub(crate) enum Begin {
    /// With this configuration. The certificate is the one that it gets.
    Serve(Arc<ServerConfig>, Arc<Certificate>),
    /// It is an authority that verifies the control of a name (RFC 8737). The connection ends with the handshake.
    Challenge(Arc<ServerConfig>),
    /// There is no certificate for it.
    Refuse,
}

impl TlsServer {
    /// Reads all files. `listener` identifies the listener over reloads. Returns warnings with it.
    ///
    /// # Errors
    ///
    /// Everything that keeps the files from being used; the paths of the findings start at the options.
    pub fn open(listener: &str, options: &TlsOptions, base: &Path, tickets: &Tickets) -> Result<(Self, Findings), Findings> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let store = Arc::new(CertificateStore::new());
        let (mut errors, mut doubts) = (Findings::default(), Findings::default());
        let (pairs, now) = (files::pairs(options, base), SystemTime::now());
        let mut certificates = Vec::new();
        for pair in pairs.unwrap_or_else(|finding| {
            errors.push(finding);
            Vec::new()
        }) {
            match pair.load(&provider) {
                Ok(certificate) => {
                    pair.doubts(&certificate, now).into_iter().for_each(|doubt| doubts.push(doubt));
                    certificates.push(certificate);
                }
                Err(finding) => errors.push(finding),
            }
        }
        store.put(Source::Files, certificates);
        let policy = Policy::read(listener, options, base, &provider, &store, tickets).map_err(|finding| errors.push(finding));
        match policy {
            Ok(policy) if errors.is_empty() => {
                let policy = ArcSwap::from_pointee(policy);
                Ok((Self { provider, store, policy }, doubts))
            }
            _ => Err(errors),
        }
    }

    /// The certificates, for other sources.
    #[must_use]
    pub const fn store(&self) -> &Arc<CertificateStore> {
        &self.store
    }

    /// The provider of cryptography, for those who make certificates.
    #[must_use]
    pub const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// The configuration of other protocols over the same certificates, policy and ticket keys: `h3` for HTTP/3. It is the one of this moment: ask again for each
    /// connection, or often. There is no early data.
    #[must_use]
    pub fn config(&self, protocols: &[&[u8]]) -> ServerConfig {
        self.policy.load().speaking(protocols)
    }

    /// Decides how to go on with a client.
    pub(crate) fn begin(&self, hello: &ClientHello<'_>) -> Begin {
        if let Some(key) = self.store.challenge(hello) {
            return self.challenge(&key).map_or(Begin::Refuse, Begin::Challenge);
        }
        let table = self.store.table();
        match table.select(hello.server_name(), hello.signature_schemes()) {
            Some(certificate) => Begin::Serve(Arc::clone(&self.policy.load().http), Arc::clone(certificate)),
            None => Begin::Refuse,
        }
    }

    fn challenge(&self, key: &Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions()?;
        let key = CertifiedKey::clone(key);
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        Ok(Arc::new(config))
    }

    /// Whether the client of a resumed session is still accepted.
    pub(crate) fn accepts_again(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        self.policy.load().accepts(chain)
    }
}
