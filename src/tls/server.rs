//! The TLS of one listener.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, ServerConfig};
use ziggurat_middleware::{ClientCertificate, Findings, RemoteUser};

use super::certificate::Certificate;
use super::loaded::{LoadedFiles, Problem, digest};
use super::options::TlsOptions;
use super::peer;
use super::pem;
use super::policy::Policy;
use super::store::{ACME_TLS, CertificateStore, Source};
use super::tickets::Tickets;

/// What a listener with TLS serves: certificates, and a policy about clients. Both change while it serves; connections keep what they began with.
#[derive(Debug)]
pub struct TlsServer {
    /// The listener, for people and for ticket keys.
    listener: String,
    options: TlsOptions,
    base: PathBuf,
    tickets: Arc<Tickets>,
    files: Mutex<LoadedFiles>,
    provider: Arc<CryptoProvider>,
    store: Arc<CertificateStore>,
    policy: ArcSwap<Policy>,
    policy_files: Mutex<PolicyFiles>,
}

/// The files of authorities and revocation lists.
#[derive(Debug, Default)]
struct PolicyFiles {
    /// Of the content that was looked at last.
    digest: u64,
    /// What keeps it from being used.
    problem: Option<Problem>,
}

/// With fewer days left, the log warns every day.
const FEW_DAYS: i64 = 7;

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
    pub fn open(listener: &str, options: &TlsOptions, base: &Path, tickets: &Arc<Tickets>) -> Result<(Self, Findings), Findings> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let store = Arc::new(CertificateStore::new());
        let (mut errors, mut doubts) = (Findings::default(), Findings::default());
        let files = LoadedFiles::open(options, base, &provider, &mut errors, &mut doubts);
        store.put(Source::Files, files.certificates());
        let policy = Policy::read(listener, options, base, &provider, &store, tickets);
        let policy = policy.map_err(|finding| errors.push(finding));
        match policy {
            Ok(policy) if errors.is_empty() => {
                policy.doubts(SystemTime::now()).into_iter().for_each(|doubt| doubts.push(doubt));
                let server = Self {
                    listener: listener.to_owned(),
                    options: options.clone(),
                    base: base.to_owned(),
                    tickets: Arc::clone(tickets),
                    files: Mutex::new(files),
                    provider,
                    store,
                    policy: ArcSwap::from_pointee(policy),
                    policy_files: Mutex::default(),
                };
                Ok((server, doubts))
            }
            _ => Err(errors),
        }
    }

    /// Looks at all files, and uses those that have changed. What cannot be used leaves what was in use before. Blocks.
    pub fn refresh(&self) {
        let mut files = lock(&self.files);
        if files.refresh(&self.listener, &self.options, &self.base, &self.provider) {
            self.store.put(Source::Files, files.certificates());
        }
        drop(files);
        self.refresh_policy();
    }

    fn refresh_policy(&self) {
        let Some(client) = &self.options.client else { return };
        let octets = std::iter::once(&client.ca).chain(&client.crl).map(|file| pem::read(&self.base.join(file)));
        // A file that cannot be read is explained below.
        let octets: Vec<_> = octets.map(Result::unwrap_or_default).collect();
        let mut files = lock(&self.policy_files);
        let digest = digest(octets.iter().map(Vec::as_slice));
        if std::mem::replace(&mut files.digest, digest) == digest {
            if let Some(problem) = &mut files.problem {
                problem.meet_again(&self.listener);
            }
            return;
        }
        match Policy::read(&self.listener, &self.options, &self.base, &self.provider, &self.store, &self.tickets) {
            Ok(policy) => {
                files.problem = None;
                if !policy.is_like(&self.policy.load()) {
                    tracing::info!(
                        listener = self.listener.as_str(),
                        "using other authorities or revocation lists for client certificates"
                    );
                    self.policy.store(Arc::new(policy));
                }
            }
            Err(finding) => files.problem = Some(Problem::new(finding.message)),
        }
    }

    /// Logs what becomes a problem soon: certificates that expire, revocation lists that are due.
    pub(super) fn warn(&self) {
        let (listener, now) = (self.listener.as_str(), SystemTime::now());
        for certificate in self.store.table().all() {
            let (days, from) = (certificate.days_left(now), certificate.source.as_str());
            if days < FEW_DAYS {
                tracing::warn!(listener, from, days, "a certificate expires soon, or has expired");
            }
        }
        if let Some(doubt) = self.policy.load().doubts(now) {
            tracing::warn!(listener, "{}", doubt.message);
        }
    }

    /// All files, and one in the folder, so that it is watched even if it is empty.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = lock(&self.files).paths().cloned().collect();
        paths.extend(self.options.folder.iter().map(|folder| self.base.join(folder).join("*")));
        let client = self.options.client.iter().flat_map(|client| std::iter::once(&client.ca).chain(&client.crl));
        paths.extend(client.map(|path| self.base.join(path)));
        paths
    }

    /// What is wrong with files now: each with its path, if it is about a certificate.
    #[must_use]
    pub fn problems(&self) -> Vec<(Option<PathBuf>, String)> {
        let files = lock(&self.files);
        let of_files = files.problems().map(|(path, text)| (path.map(Path::to_owned), text.to_owned()));
        let of_policy = lock(&self.policy_files).problem.as_ref().map(|problem| (None, problem.text.clone()));
        of_files.chain(of_policy).collect()
    }

    pub(super) fn has_problems(&self) -> bool {
        lock(&self.files).problems().next().is_some() || lock(&self.policy_files).problem.is_some()
    }

    /// The listener, for people.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
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

    /// The user that the certificate of a client names, if the options ask for one.
    pub(crate) fn user_of(&self, certificate: &ClientCertificate) -> Option<RemoteUser> {
        let user = peer::user(certificate, self.options.client.as_ref()?.user?)?;
        Some(RemoteUser { user: user.into(), auth_type: "CLIENT_CERT".into() })
    }

    /// Whether the client of a resumed session is still accepted.
    pub(crate) fn accepts_again(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        self.policy.load().accepts(chain)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
