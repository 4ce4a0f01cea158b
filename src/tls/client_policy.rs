//! The policy about clients of some certificates, while its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use rustls::crypto::CryptoProvider;
use ziggurat_middleware::{Finding, Step};

use super::access::FileAccess;
use super::loaded::{Problem, digest};
use super::options::{ClientOptions, MinVersion};
use super::policy::Policy;
use super::store::CertificateStore;
use super::tickets::Tickets;

/// What policies of a listener have in common.
#[derive(Debug)]
pub(super) struct PolicySite {
    pub(super) listener: String,
    pub(super) min: MinVersion,
    /// The protocols over TCP (ALPN), the preferred one first.
    pub(super) protocols: Vec<&'static [u8]>,
    pub(super) base: PathBuf,
    pub(super) access: FileAccess,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) store: Arc<CertificateStore>,
    pub(super) tickets: Arc<Tickets>,
}

/// The policy in use, and what is wrong with newer files of authorities or revocation lists.
#[derive(Debug)]
pub(super) struct ClientPolicy {
    pub(super) options: Option<ClientOptions>,
    current: ArcSwap<Policy>,
    files: Mutex<PolicyFiles>,
}

#[derive(Debug, Default)]
struct PolicyFiles {
    /// Of the content that was looked at last.
    digest: u64,
    /// What keeps it from being used.
    problem: Option<Problem>,
}

impl ClientPolicy {
    /// Reads the files. A finding is at the options, which are at `at`.
    pub(super) fn open(options: Option<&ClientOptions>, at: &[Step], site: &PolicySite) -> Result<Self, Finding> {
        let policy = Policy::read(options, site).map_err(|finding| placed(finding, at))?;
        Ok(Self { options: options.cloned(), current: ArcSwap::from_pointee(policy), files: Mutex::default() })
    }

    pub(super) fn load(&self) -> Guard<Arc<Policy>> {
        self.current.load()
    }

    /// Looks at the files again. What cannot be used leaves what was in use before.
    pub(super) fn refresh(&self, site: &PolicySite) {
        let listener = site.listener.as_str();
        // A file that cannot be read is explained below.
        let octets: Vec<_> = self.paths(&site.base).map(|file| site.access.read(&file).unwrap_or_default()).collect();
        if octets.is_empty() {
            return;
        }
        let mut files = self.files();
        let digest = digest(octets.iter().map(Vec::as_slice));
        if std::mem::replace(&mut files.digest, digest) == digest {
            if let Some(problem) = &mut files.problem {
                problem.meet_again(listener);
            }
            return;
        }
        match Policy::read(self.options.as_ref(), site) {
            Ok(policy) => {
                files.problem = None;
                if !policy.is_like(&self.current.load()) {
                    tracing::info!(listener, "using other authorities or revocation lists for client certificates");
                    self.current.store(Arc::new(policy));
                }
            }
            Err(finding) => files.problem = Some(Problem::new(finding.message)),
        }
    }

    pub(super) fn paths(&self, base: &Path) -> impl Iterator<Item = PathBuf> {
        self.options.iter().flat_map(ClientOptions::files).map(|file| base.join(file))
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.files().problem.as_ref().map(|problem| problem.text.clone())
    }

    fn files(&self) -> MutexGuard<'_, PolicyFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The finding with its path below `at`.
pub(super) fn placed(mut finding: Finding, at: &[Step]) -> Finding {
    finding.path.splice(..0, at.iter().cloned());
    finding
}
