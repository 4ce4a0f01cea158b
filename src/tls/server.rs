//! The TLS of one listener.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, ServerConfig};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use ziggurat_middleware::{ClientCertificate, Findings, RemoteUser};

use super::access::FileAccess;
use super::certificate::Certificate;
use super::client_policy::{ClientPolicy, PolicySite, placed};
use super::loaded::LoadedFiles;
use super::options::TlsOptions;
use super::store::{ACME_TLS, CertificateStore, Source};
use super::tickets::Tickets;

/// What a listener with TLS serves: certificates, and a policy about clients. Both change while it serves; connections keep what they began with.
#[derive(Debug)]
pub struct TlsServer {
    options: TlsOptions,
    site: PolicySite,
    files: Mutex<LoadedFiles>,
    /// That of the listener, and those of single certificates by their number: at least one.
    policies: Vec<ClientPolicy>,
    lookups: Semaphore,
}

/// The most challenges that are looked up at once. Handshakes beyond wait.
const MOST_LOOKUPS: usize = 16;

/// With fewer days left, the log warns every day.
const FEW_DAYS: i64 = 7;

impl TlsServer {
    /// Reads all files. `listener` identifies the listener over reloads, `protocols` are those that it speaks over TCP (ALPN), the preferred one first. Returns warnings
    /// with it.
    ///
    /// # Errors
    ///
    /// Everything that keeps the files from being used; the paths of the findings start at the options.
    pub fn open(
        listener: &str,
        options: &TlsOptions,
        protocols: Vec<&'static [u8]>,
        base: &Path,
        access: FileAccess,
        tickets: &Arc<Tickets>,
    ) -> Result<(Self, Findings), Findings> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let store = Arc::new(CertificateStore::new());
        let (mut errors, mut doubts) = (Findings::default(), Findings::default());
        let files = LoadedFiles::open(options, base, access.clone(), &provider, &mut errors, &mut doubts);
        store.put(Source::Files, files.certificates());
        let (listener, tickets) = (listener.to_owned(), Arc::clone(tickets));
        let site = PolicySite { listener, min: options.min, protocols, base: base.to_owned(), access, provider, store, tickets };
        let mut policies = Vec::new();
        for (at, client) in options.clients() {
            match ClientPolicy::open(client, &at, &site) {
                Ok(policy) => {
                    policy.load().doubts(SystemTime::now()).into_iter().for_each(|doubt| doubts.push(placed(doubt, &at)));
                    policies.push(policy);
                }
                Err(finding) => errors.push(finding),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok((Self { options: options.clone(), site, files: Mutex::new(files), policies, lookups: Semaphore::new(MOST_LOOKUPS) }, doubts))
    }

    /// Looks at all files, and uses those that have changed. What cannot be used leaves what was in use before. Blocks.
    pub fn refresh(&self) {
        let mut files = lock(&self.files);
        if files.refresh(&self.site.listener, &self.options, &self.site.base, &self.site.provider) {
            self.site.store.put(Source::Files, files.certificates());
        }
        drop(files);
        self.policies.iter().for_each(|policy| policy.refresh(&self.site));
    }

    /// Logs what becomes a problem soon: certificates that expire, revocation lists that are due.
    pub(super) fn warn(&self) {
        let (listener, now) = (self.listener(), SystemTime::now());
        for certificate in self.store().table().all() {
            let (days, from) = (certificate.days_left(now), certificate.source.as_str());
            if days < FEW_DAYS {
                tracing::warn!(listener, from, days, "a certificate expires soon, or has expired");
            }
        }
        for doubt in self.policies.iter().filter_map(|policy| policy.load().doubts(now)) {
            tracing::warn!(listener, "{}", doubt.message);
        }
    }

    /// All files, and one in the folder, so that it is watched even if it is empty.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = lock(&self.files).paths().cloned().collect();
        paths.extend(self.options.folder.iter().map(|folder| self.site.base.join(folder).join("*")));
        paths.extend(self.policies.iter().flat_map(|policy| policy.paths(&self.site.base)));
        paths
    }

    /// What is wrong with files now: each with its path, if it is about a certificate.
    #[must_use]
    pub fn problems(&self) -> Vec<(Option<PathBuf>, String)> {
        let files = lock(&self.files);
        let of_files = files.problems().map(|(path, text)| (path.map(Path::to_owned), text.to_owned()));
        let of_policies = self.policies.iter().filter_map(|policy| Some((None, policy.problem()?)));
        of_files.chain(of_policies).collect()
    }

    pub(super) fn has_problems(&self) -> bool {
        lock(&self.files).problems().next().is_some() || self.policies.iter().any(|policy| policy.problem().is_some())
    }

    /// The listener, for people.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.site.listener
    }

    /// The certificates of the files, as they are in use.
    pub(crate) fn certificates(&self) -> Vec<Arc<Certificate>> {
        lock(&self.files).certificates()
    }

    /// The certificates, for other sources.
    #[must_use]
    pub const fn store(&self) -> &Arc<CertificateStore> {
        &self.site.store
    }

    /// The provider of cryptography, for those who make certificates.
    #[must_use]
    pub const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.site.provider
    }

    /// The configuration of other protocols over the same certificates, policy of the listener and ticket keys: `h3` for HTTP/3. It is the one of this moment: ask
    /// again for each connection, or often. There is no early data. Requests for names with a policy of their own are misdirected there
    /// ([`TlsServer::policy_of`]).
    #[must_use]
    pub fn config(&self, protocols: &[&[u8]]) -> ServerConfig {
        self.policies[0].load().speaking(protocols)
    }

    /// As [`TlsServer::config`], for one connection, with a record of what its handshake chooses. There is no certificate for names with a policy of their own.
    #[cfg(feature = "experimental-http3")]
    pub(crate) fn recorded(&self, protocols: &[&[u8]]) -> (ServerConfig, Arc<super::HandshakeRecord>) {
        let mut config = self.config(protocols);
        let record = super::HandshakeRecord::of(&mut config, self.store());
        (config, record)
    }

    /// The number of the policy about clients of this host: 0 for that of the listener.
    #[must_use]
    pub fn policy_of(&self, host: &str) -> usize {
        if self.policies.len() == 1 { 0 } else { self.store().table().policy_of(host) }
    }

    /// How the handshake of a client goes on after its hello: the configuration, and the certificate that it gets; `None` if there is none for it.
    pub(crate) fn begin(&self, hello: &ClientHello<'_>) -> Option<(Arc<ServerConfig>, Arc<Certificate>)> {
        let table = self.store().table();
        let certificate = table.select(hello.server_name(), hello.signature_schemes())?;
        Some((Arc::clone(&self.policy(certificate).load().http), Arc::clone(certificate)))
    }

    /// The name whose control a client verifies, if it seems to be an authority (RFC 8737).
    pub(crate) fn challenged(&self, hello: &ClientHello<'_>) -> Option<String> {
        self.store().challenged(hello).map(str::to_owned)
    }

    /// The configuration for an authority that verifies the control of a name, if a challenge is pending. The connection ends with the handshake. The answer is in a
    /// file, so it is read on another thread.
    pub(crate) async fn challenge(&self, name: String) -> Option<Arc<ServerConfig>> {
        let _permit = self.lookups.acquire().await.ok()?;
        let store = Arc::clone(self.store());
        let key = spawn_blocking(move || store.challenge(&name)).await.ok()??;
        self.answer(&key).ok()
    }

    fn answer(&self, key: &Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(self.provider())).with_safe_default_protocol_versions()?;
        let key = CertifiedKey::clone(key);
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        Ok(Arc::new(config))
    }

    /// The user that the certificate of a client names, if the options ask for one. The client came for `certificate`.
    pub(crate) fn user_of(&self, client: &ClientCertificate, certificate: &Certificate) -> Option<RemoteUser> {
        self.policy(certificate).options.as_ref()?.user_of(client)
    }

    /// Whether apps get the certificate of a client that came for this one.
    pub(crate) fn exports_clients(&self, certificate: &Certificate) -> bool {
        self.policy(certificate).options.as_ref().is_some_and(|options| options.export_cert)
    }

    /// Whether the client of a resumed session is still accepted.
    pub(crate) fn accepts_again(&self, chain: Option<&[CertificateDer<'_>]>, certificate: &Certificate) -> bool {
        self.policy(certificate).load().accepts(chain)
    }

    fn policy(&self, certificate: &Certificate) -> &ClientPolicy {
        self.policies.get(certificate.policy).unwrap_or(&self.policies[0])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
