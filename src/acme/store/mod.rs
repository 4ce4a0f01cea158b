//! The store: a folder that holds the accounts, the certificates, the attempts and the challenges of all processes and machines that share it.
//!
//! ```text
//! lock                                        who may write now (`lock`)
//! <directory>/account.json                    the account with this directory
//! <directory>/attempt.json                    why nobody asks the directory until a time
//! <directory>/<name>/certificate.json         key, chain and facts of a certificate
//! <directory>/<name>/attempt.json             the attempt under way, or the last one that failed
//! <directory>/<name>/renewal.json             when the authority wants the certificate to be renewed
//! challenges/http-01/<token>.json             what is answered to the authority (`challenges`)
//! challenges/tls-alpn-01/<name>.json
//! ```
//!
//! Files are whole or not there: each is written beside its place and renamed. Only the holder of the lock writes. A file that something else has damaged is set
//! aside under another name, and what it held is made anew.

mod files;
pub(super) mod lock;
mod records;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use twox_hash::XxHash3_64;
use ziggurat_middleware::system_words;

pub(super) use files::Read;
pub(super) use records::{AccountRecord, AttemptRecord, CertificateRecord, ChallengeRecord, RenewalRecord};

use super::challenges::Challenge;
use files::{private_folder, read, remove, set_aside, write};

/// The store in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    root: PathBuf,
}

/// The part of a store that belongs to one directory.
#[derive(Clone, Debug)]
pub(super) struct DirectoryFolder {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder, and those above it, for this user alone. Returns those that were not there.
    pub(crate) fn create(&self) -> io::Result<Vec<PathBuf>> {
        let missing = self.root.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let missing = missing.map(Path::to_owned).collect();
        private_folder(&self.root).map(|()| missing)
    }

    /// Why this process could not write to the store, or take its lock, if there is a reason. Changes nothing.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let cannot = |path: &Path, error: &dyn fmt::Display| format!("`{}` cannot be used by this user: {error}", path.display());
        let use_folder = |folder: &Path| match access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            Err(error) => Some(cannot(folder, &system_words(&error.into()))),
            Ok(()) => None,
        };
        // What is missing is made below the first folder that is there.
        let there = self
            .root
            .ancestors()
            .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
            .find(|folder| folder.exists());
        let there = there.unwrap_or(Path::new("/"));
        if !there.is_dir() {
            return Some(cannot(there, &"it is not a folder"));
        }
        let entries = if there == self.root { files::folders(&self.root) } else { Vec::new() };
        use_folder(there).or_else(|| entries.iter().find_map(|folder| use_folder(folder))).or_else(|| {
            let lock = self.root.join("lock");
            match File::open(&lock) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Some(cannot(&lock, &system_words(&error))),
                _ => None,
            }
        })
    }

    pub(super) fn directory(&self, url: &str) -> DirectoryFolder {
        // Readable, and different for each URL.
        let words = url.trim_start_matches("https://").chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
        let words: String = words.take(60).collect();
        let hash = XxHash3_64::oneshot(url.as_bytes()) >> 32;
        DirectoryFolder { path: self.root.join(format!("{}-{hash:08x}", words.trim_matches(['-', '.']))) }
    }

    pub(super) fn put_challenge(&self, record: &ChallengeRecord) -> io::Result<()> {
        let file = self.challenge_file(record.challenge, record.key());
        write(&file, record)
    }

    pub(super) fn remove_challenge(&self, record: &ChallengeRecord) {
        remove(&self.challenge_file(record.challenge, record.key()));
    }

    /// The challenge with this key, which the caller knows to be a token or a name.
    pub(super) fn challenge(&self, challenge: Challenge, key: &str) -> Option<ChallengeRecord> {
        match read(&self.challenge_file(challenge, key)) {
            Ok(Read::Whole(record)) => Some(record),
            // A damaged one is as good as none: the attempt that made it will fail and say so.
            _ => None,
        }
    }

    /// Removes what attempts have left that were killed. The lock must be held.
    pub(super) fn remove_old_challenges(&self) {
        for challenge in Challenge::ALL {
            files::remove_older(&self.root.join("challenges").join(challenge.as_str()), OLD);
        }
    }

    fn challenge_file(&self, challenge: Challenge, key: &str) -> PathBuf {
        self.root.join("challenges").join(challenge.as_str()).join(format!("{key}.json"))
    }
}

/// No attempt takes so long.
const OLD: Duration = Duration::from_secs(24 * 3600);

impl DirectoryFolder {
    pub(super) fn account(&self) -> io::Result<Read<AccountRecord>> {
        read(&self.path.join("account.json"))
    }

    pub(super) fn put_account(&self, record: &AccountRecord) -> io::Result<()> {
        write(&self.path.join("account.json"), record)
    }

    pub(super) fn set_account_aside(&self) -> io::Result<PathBuf> {
        set_aside(&self.path.join("account.json"))
    }

    /// The attempt for a name, or the one that makes all names of the directory wait.
    pub(super) fn attempt(&self, name: Option<&str>) -> io::Result<Read<AttemptRecord>> {
        read(&self.folder(name).join("attempt.json"))
    }

    pub(super) fn put_attempt(&self, name: Option<&str>, record: &AttemptRecord) -> io::Result<()> {
        write(&self.folder(name).join("attempt.json"), record)
    }

    pub(super) fn remove_attempt(&self, name: Option<&str>) {
        remove(&self.folder(name).join("attempt.json"));
    }

    pub(super) fn certificate(&self, name: &str) -> io::Result<Read<CertificateRecord>> {
        read(&self.folder(Some(name)).join("certificate.json"))
    }

    pub(super) fn put_certificate(&self, name: &str, record: &CertificateRecord) -> io::Result<()> {
        write(&self.folder(Some(name)).join("certificate.json"), record)
    }

    pub(super) fn set_certificate_aside(&self, name: &str) -> io::Result<PathBuf> {
        set_aside(&self.folder(Some(name)).join("certificate.json"))
    }

    pub(super) fn renewal(&self, name: &str) -> io::Result<Read<RenewalRecord>> {
        read(&self.folder(Some(name)).join("renewal.json"))
    }

    pub(super) fn put_renewal(&self, name: &str, record: &RenewalRecord) -> io::Result<()> {
        write(&self.folder(Some(name)).join("renewal.json"), record)
    }

    fn folder(&self, name: Option<&str>) -> PathBuf {
        name.map_or_else(|| self.path.clone(), |name| self.path.join(name))
    }

    #[cfg(test)]
    pub(super) fn certificate_file(&self, name: &str) -> PathBuf {
        self.folder(Some(name)).join("certificate.json")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::time::Timestamp;
    use super::*;

    fn record() -> CertificateRecord {
        CertificateRecord {
            name: "a.test".to_owned(),
            account: "https://acme.test/account/1".to_owned(),
            issued_at: Timestamp(1_000),
            chain: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_and_only_this_user_may() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("var/acme"));
        store.create().unwrap();
        let entries = store.directory("https://acme.test/directory");
        assert_eq!(entries.certificate("a.test").unwrap(), Read::Missing);
        entries.put_certificate("a.test", &record()).unwrap();
        assert_eq!(entries.certificate("a.test").unwrap(), Read::Whole(record()));
        let file = entries.certificate_file("a.test");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(store.root())) {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left of the way it was written");
    }

    #[test]
    fn directories_have_folders_of_their_own_with_readable_names() {
        let store = Store::new("/s");
        let one = store.directory("https://acme.test:14000/dir?a").path;
        let name = one.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("acme.test-14000-dir-a-"), "{name}");
        assert_ne!(one, store.directory("https://acme.test:14000/dir/a").path);
        let hostile = store.directory("https://../../etc/passwd").path;
        assert_eq!(hostile.parent(), Some(Path::new("/s")));
    }

    #[test]
    fn an_entry_cut_at_any_octet_is_damaged_and_set_aside_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let entries = Store::new(folder.path()).directory("https://acme.test/directory");
        entries.put_certificate("a.test", &record()).unwrap();
        let file = entries.certificate_file("a.test");
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(matches!(entries.certificate("a.test").unwrap(), Read::Damaged(_)), "{length}");
            let aside = entries.set_certificate_aside("a.test").unwrap();
            assert_eq!(fs::read(aside).unwrap(), whole[..length]);
            assert_eq!(entries.certificate("a.test").unwrap(), Read::Missing, "{length}");
            entries.put_certificate("a.test", &record()).unwrap();
            assert_eq!(entries.certificate("a.test").unwrap(), Read::Whole(record()), "{length}");
        }
        let names: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "one whole and one set aside: {names:?}");
    }

    #[test]
    fn an_entry_much_too_long_or_not_a_file_is_damaged_or_an_error_and_never_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let entries = Store::new(folder.path()).directory("https://acme.test/directory");
        entries.put_certificate("a.test", &record()).unwrap();
        let file = entries.certificate_file("a.test");
        fs::write(&file, vec![b' '; 3 << 20]).unwrap();
        assert!(matches!(entries.certificate("a.test").unwrap(), Read::Damaged(_)));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(entries.certificate("a.test").is_err());
    }

    #[test]
    fn a_challenge_is_found_by_its_key_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let record = ChallengeRecord {
            challenge: Challenge::Http01,
            name: "a.test".to_owned(),
            token: "abc".to_owned(),
            answer: "abc.def".to_owned(),
        };
        store.put_challenge(&record).unwrap();
        assert_eq!(store.challenge(Challenge::Http01, "abc"), Some(record.clone()));
        assert_eq!(store.challenge(Challenge::TlsAlpn01, "a.test"), None);
        store.remove_old_challenges();
        assert!(store.challenge(Challenge::Http01, "abc").is_some());
        store.remove_challenge(&record);
        assert_eq!(store.challenge(Challenge::Http01, "abc"), None);
    }
}
