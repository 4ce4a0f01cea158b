//! The certificates in the files that the options name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use ziggurat_middleware::{Finding, Step, system_words};

use super::access::FileAccess;
use super::certificate::{Certificate, Unusable};
use super::options::TlsOptions;
use super::pem;

/// A certificate's file and its key's, and the option that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PairFiles {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// The path to the options `cert` and `key`, or to the one of the folder.
    at: Vec<Step>,
    is_of_folder: bool,
    /// The number of the policy about clients.
    policy: usize,
}

/// The most certificates of a folder.
const MOST: usize = 10_000;

/// The pairs that the options name, in their order; those of the folder by name.
pub(super) fn pairs(options: &TlsOptions, base: &Path, access: &FileAccess) -> Result<Vec<PairFiles>, Finding> {
    let pair =
        |cert: &Path, key: &Path, at, policy| PairFiles { cert: base.join(cert), key: base.join(key), at, is_of_folder: false, policy };
    // Policies are numbered as `TlsOptions::clients` has them.
    let mut policies = 0;
    let mut pairs = Vec::new();
    if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
        pairs.push(pair(cert, key, Vec::new(), 0));
    }
    for (number, entry) in options.certificates.iter().enumerate() {
        policies += usize::from(entry.client.is_some());
        let policy = if entry.client.is_some() { policies } else { 0 };
        pairs.push(pair(&entry.cert, &entry.key, vec!["certificates".into(), number.into()], policy));
    }
    if let Some(folder) = &options.folder {
        pairs.extend(in_folder(&base.join(folder), access).map_err(|finding| finding.at("folder"))?);
    }
    Ok(pairs)
}

fn in_folder(folder: &Path, access: &FileAccess) -> Result<Vec<PairFiles>, Finding> {
    let cannot = |error: io::Error| Finding::new(format!("cannot read the folder `{}`: {}", folder.display(), system_words(&error)));
    let pairs = access.pairs_in(folder).map_err(cannot)?;
    if pairs.is_empty() {
        let finding = Finding::new(format!("the folder `{}` has no certificate", folder.display()));
        return Err(finding.hint("it takes `NAME.pem` with `NAME.key` beside it, and folders with `fullchain.pem` and `privkey.pem`"));
    }
    let of = |(cert, key)| PairFiles { cert, key, at: vec!["folder".into()], is_of_folder: true, policy: 0 };
    Ok(pairs.into_iter().map(of).collect())
}

/// The paths of certificates and keys in a folder, by name.
pub(super) fn pairs_in(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
        if paths.len() > 4 * MOST {
            return Err(io::Error::other(format!("it has more than {MOST} certificates")));
        }
    }
    paths.sort();
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let mut pairs = Vec::new();
    for path in paths.into_iter().filter(|path| !is_hidden(path)) {
        if path.is_dir() {
            let (cert, key) = (path.join("fullchain.pem"), path.join("privkey.pem"));
            if cert.exists() || key.exists() {
                pairs.push((cert, key));
            }
        } else if path.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
            let key = path.with_extension("key");
            pairs.push((path, key));
        }
    }
    Ok(pairs)
}

/// The octets of both files.
type Octets = (Vec<u8>, Vec<u8>);

impl PairFiles {
    /// Reads both files. A finding is at the option that it is about.
    pub(super) fn read(&self, access: &FileAccess) -> Result<Octets, Finding> {
        let cert = access.read(&self.cert).map_err(|finding| self.at(finding, "cert"))?;
        Ok((cert, access.read(&self.key).map_err(|finding| self.at(finding, "key"))?))
    }

    pub(super) fn read_cert(&self, access: &FileAccess) -> Option<Vec<u8>> {
        access.read(&self.cert).ok()
    }

    /// Whether this process may not read the key.
    pub(super) fn is_key_withheld(&self) -> bool {
        fs::File::open(&self.key).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The certificate as one that cannot be served, so that its key need not be read.
    pub(super) fn read_without_key(&self, access: &FileAccess) -> Result<Arc<Certificate>, Finding> {
        let chain = pem::parse_certificates(&self.cert, &access.read(&self.cert)?)?;
        Certificate::without_key(chain, self.cert.display().to_string())
            .map(|certificate| Arc::new(certificate.with_policy(self.policy)))
            .map_err(|unusable| Finding::new(format!("`{}`: {unusable}", self.cert.display())))
    }

    /// Makes one certificate of both files.
    pub(super) fn parse(&self, cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Arc<Certificate>, Finding> {
        let chain = pem::parse_certificates(&self.cert, cert).map_err(|finding| self.at(finding, "cert"))?;
        let key = pem::parse_private_key(&self.key, key).map_err(|finding| self.at(finding, "key"))?;
        Certificate::new(chain, key, provider, self.cert.display().to_string())
            .map(|certificate| Arc::new(certificate.with_policy(self.policy)))
            .map_err(|unusable| {
                let (cert, key) = (self.cert.display(), self.key.display());
                match unusable {
                    // What the provider of cryptography does not know.
                    Unusable::Refused(rustls::Error::General(_)) => {
                        let finding = Finding::new(format!("the private key in `{key}` cannot be used: it is damaged, or of another kind"));
                        self.at(finding.hint("keys are ECDSA with P-256, P-384 or P-521, Ed25519, or RSA with at least 2048 bits"), "key")
                    }
                    Unusable::Malformed | Unusable::Refused(_) => self.at(Finding::new(format!("`{cert}`: {unusable}")), "cert"),
                    Unusable::Misfit => {
                        let finding = Finding::new(format!("the private key in `{key}` is not that of the certificate in `{cert}`"));
                        self.at(
                            finding.hint("the file of the certificate begins with the site's own certificate, and its chain follows"),
                            "key",
                        )
                    }
                }
            })
    }

    /// A finding about one of the files.
    fn at(&self, finding: Finding, field: &str) -> Finding {
        let finding = self.at.iter().cloned().fold(finding, Finding::at);
        if self.is_of_folder { finding } else { finding.at(field) }
    }

    /// What is harmless for the server, and probably a mistake.
    pub(super) fn doubts(&self, certificate: &Certificate, now: SystemTime) -> Vec<Finding> {
        let mut doubts = Vec::new();
        if certificate.is_expired(now) {
            let finding = Finding::new(format!("the certificate in `{}` has expired", self.cert.display()));
            doubts.push(self.at(finding.hint("clients refuse it: renew it"), "cert"));
        } else if now < certificate.not_before {
            doubts.push(self.at(Finding::new(format!("the certificate in `{}` is not valid yet", self.cert.display())), "cert"));
        }
        if certificate.names_nothing() {
            let finding = Finding::new(format!("the certificate in `{}` names no host", self.cert.display()));
            doubts.push(self.at(finding.hint("clients look at its subject alternative names only: issue it again with them"), "cert"));
        }
        if fs::metadata(&self.key).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
            let finding = Finding::new(format!("every user of this machine can read the private key in `{}`", self.key.display()));
            doubts.push(self.at(finding.hint("run `chmod 600` on it"), "key"));
        }
        doubts
    }
}
