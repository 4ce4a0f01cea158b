//! The files of a listener's certificates: what is in use of them, and what is wrong with newer ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use twox_hash::XxHash3_64;
use ziggurat_middleware::{Finding, Findings};

use super::access::FileAccess;
use super::certificate::Certificate;
use super::files::{self, PairFiles};
use super::options::TlsOptions;

/// All pairs of a listener.
#[derive(Debug, Default)]
pub(super) struct LoadedFiles {
    access: FileAccess,
    pairs: Vec<LoadedPair>,
    /// Why the folder cannot be listed.
    listing: Option<Problem>,
}

#[derive(Debug)]
struct LoadedPair {
    files: PairFiles,
    /// Of the content that was looked at last, and of the certificate alone when it was last read with its key.
    digest: u64,
    cert_digest: u64,
    /// The one in use.
    certificate: Option<Arc<Certificate>>,
    problem: Option<Problem>,
}

/// What keeps a file from being used.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) text: String,
    is_logged: bool,
}

impl Problem {
    pub(super) const fn new(text: String) -> Self {
        Self { text, is_logged: false }
    }

    /// Logs it the second time that it is met: files that belong together are seldom written in one moment.
    pub(super) fn meet_again(&mut self, listener: &str) {
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::error!(listener, "kept what was in use before: {}", self.text);
        }
    }
}

impl LoadedFiles {
    /// Reads all of them. Pushes what is wrong with them, and what is harmless.
    pub(super) fn open(
        options: &TlsOptions,
        base: &Path,
        access: FileAccess,
        provider: &CryptoProvider,
        errors: &mut Findings,
        doubts: &mut Findings,
    ) -> Self {
        let now = SystemTime::now();
        let mut loaded = Self { access, ..Self::default() };
        match files::pairs(options, base, &loaded.access) {
            Ok(pairs) => loaded.pairs.extend(pairs.into_iter().map(LoadedPair::new)),
            Err(finding) => errors.push(finding),
        }
        for pair in &mut loaded.pairs {
            match pair.read(&loaded.access, provider) {
                Ok(certificate) => {
                    pair.files.doubts(&certificate, now).into_iter().for_each(|doubt| doubts.push(doubt));
                    pair.certificate = Some(certificate);
                }
                Err(finding) => errors.push(finding),
            }
        }
        loaded
    }

    /// Looks at all of them again. Returns whether other certificates are to be served. What cannot be used leaves what was in use before.
    pub(super) fn refresh(&mut self, listener: &str, options: &TlsOptions, base: &Path, provider: &CryptoProvider) -> bool {
        let mut has_changed = false;
        match files::pairs(options, base, &self.access) {
            Ok(pairs) => {
                self.listing = None;
                let mut before = std::mem::take(&mut self.pairs);
                for files in pairs {
                    let known = before.iter().position(|pair| pair.files == files);
                    self.pairs.push(known.map_or_else(|| LoadedPair::new(files), |at| before.swap_remove(at)));
                }
                for gone in before {
                    tracing::info!(listener, "no longer serving the certificate in `{}`: the file is gone", gone.files.cert.display());
                    has_changed |= gone.certificate.is_some();
                }
            }
            Err(finding) => match &mut self.listing {
                Some(problem) if problem.text == finding.message => problem.meet_again(listener),
                listing => *listing = Some(Problem::new(finding.message)),
            },
        }
        for pair in &mut self.pairs {
            has_changed |= pair.refresh(listener, &self.access, provider);
        }
        has_changed
    }

    /// Those in use.
    pub(super) fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.pairs.iter().filter_map(|pair| pair.certificate.clone()).collect()
    }

    /// The file of each problem, and what is wrong.
    pub(super) fn problems(&self) -> impl Iterator<Item = (Option<&Path>, &str)> {
        let listing = self.listing.iter().map(|problem| (None, problem.text.as_str()));
        let pairs = self.pairs.iter().filter_map(|pair| Some((Some(pair.files.cert.as_path()), pair.problem.as_ref()?.text.as_str())));
        listing.chain(pairs)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.pairs.iter().flat_map(|pair| [&pair.files.cert, &pair.files.key])
    }
}

impl LoadedPair {
    const fn new(files: PairFiles) -> Self {
        Self { files, digest: 0, cert_digest: 0, certificate: None, problem: None }
    }

    /// Reads both files, each once.
    fn read(&mut self, access: &FileAccess, provider: &CryptoProvider) -> Result<Arc<Certificate>, Finding> {
        let (cert, key) = self.files.read(access)?;
        self.note(&cert, &key);
        self.files.parse(&cert, &key, provider)
    }

    fn refresh(&mut self, listener: &str, access: &FileAccess, provider: &CryptoProvider) -> bool {
        let before = self.digest;
        let read = match self.files.read(access) {
            Ok((cert, key)) => {
                self.note(&cert, &key);
                if self.digest == before {
                    Ok(None)
                } else {
                    self.files.parse(&cert, &key, provider).and_then(|certificate| self.check(certificate)).map(Some)
                }
            }
            // With `server.user`, keys were read before the server became that user. Nothing is wrong as long as they belong to the certificate.
            Err(_)
                if self.files.is_key_withheld()
                    && self.files.read_cert(access).is_some_and(|cert| digest([cert.as_slice()]) == self.cert_digest) =>
            {
                Ok(None)
            }
            Err(finding) => {
                self.digest = digest([finding.message.as_bytes()]);
                Err(finding)
            }
        };
        match (read, &mut self.problem) {
            (Ok(Some(certificate)), _) => {
                let (file, names, serial) = (self.files.cert.display(), certificate.named(), certificate.serial.as_str());
                let days = certificate.days_left(SystemTime::now());
                tracing::info!(listener, %file, %names, serial, days, "serving another certificate");
                (self.certificate, self.problem) = (Some(certificate), None);
                true
            }
            // The same as before, or the same mistake as before.
            (_, Some(problem)) if self.digest == before => {
                problem.meet_again(listener);
                false
            }
            (Ok(None), _) => false,
            (Err(finding), problem) => {
                *problem = Some(Problem::new(finding.message));
                false
            }
        }
    }

    fn note(&mut self, cert: &[u8], key: &[u8]) {
        (self.digest, self.cert_digest) = (digest([cert, key]), digest([cert]));
    }

    /// An expired certificate does not take the place of one that is good for longer.
    fn check(&self, certificate: Arc<Certificate>) -> Result<Arc<Certificate>, Finding> {
        let is_worse = self.certificate.as_ref().is_some_and(|before| before.not_after >= certificate.not_after);
        if certificate.is_expired(SystemTime::now()) && is_worse {
            return Err(Finding::new(format!("the certificate in `{}` has expired", self.files.cert.display())));
        }
        Ok(certificate)
    }
}

/// A digest of files.
pub(super) fn digest<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let digests = files.into_iter().map(|octets| XxHash3_64::oneshot(octets).to_le_bytes());
    XxHash3_64::oneshot(&digests.collect::<Vec<_>>().concat())
}
