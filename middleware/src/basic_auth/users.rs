//! The htpasswd file and the users in it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::hash::Hash;
use crate::Finding;

/// How often the file is checked for changes.
const CHECK_MILLIS: u64 = 1_000;

/// The largest htpasswd file.
const LARGEST: u64 = 16 << 20;

/// The users of one version of the file.
pub(super) struct Users {
    hashes: Vec<Hash>,
    names: HashMap<String, usize>,
    seed: RandomState,
}

impl Users {
    /// Reads the lines of a file. Each wrong one is named, with what is wrong with it and without the hash, and lets nobody in.
    fn parse(text: &str) -> (Self, Vec<String>) {
        let mut users = Self { hashes: Vec::new(), names: HashMap::new(), seed: RandomState::new() };
        let (mut wrong, mut twice) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A further colon begins a comment, as in nginx.
            let mut fields = line.split(':');
            let (name, hash) = (fields.next().unwrap_or_default(), fields.next());
            match hash.map_or(Err("there is no `:` between name and hash"), Hash::parse) {
                Ok(_) if name.is_empty() => wrong.push(format!("line {number}: the name is empty")),
                Ok(_) if users.names.contains_key(name) => {
                    wrong.push(format!("line {number}: the name is used by a line above"));
                    twice.push(name);
                }
                Ok(hash) => {
                    users.names.insert(name.to_owned(), users.hashes.len());
                    users.hashes.push(hash);
                }
                Err(error) => wrong.push(format!("line {number}: {error}")),
            }
        }
        // Nobody knows which of the lines is meant.
        users.names.retain(|name, _| !twice.contains(&name.as_str()));
        if users.names.is_empty() && wrong.is_empty() {
            wrong.push("it has no user".to_owned());
        }
        (users, wrong)
    }

    /// Whether the user exists and the password is correct. An unknown name is checked against the hash of some user, always the same one, so that it
    /// takes as long as a known one.
    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        let known = self.names.get(name).copied();
        let any = usize::try_from(self.seed.hash_one(name)).unwrap_or(0) % self.hashes.len().max(1);
        let Some(hash) = self.hashes.get(known.unwrap_or(any)) else { return false };
        let matches = hash.matches(password);
        matches && known.is_some()
    }
}

/// The file, read again when it has changed.
pub(super) struct UserFile {
    path: PathBuf,
    version: RwLock<Version>,
    started: Instant,
    checked: AtomicU64,
}

/// What was read last.
struct Version {
    stamp: Stamp,
    /// The file was changed so shortly before that a further change may have left the stamp as it is.
    may_change_unseen: bool,
    text: [u8; 32],
    users: Arc<Users>,
    /// Whether the file could be read. If not, nobody knows who has been removed.
    is_readable: bool,
}

/// Identifies a version of the file: device, inode, length, times of change. `None` while it cannot be opened.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Two changes within this time may have the same time of change, on some file systems.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

impl UserFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf) -> Result<Self, Finding> {
        let shown = path.display();
        let (stamp, text) = read(&path)
            .map_err(|error| Finding::new(format!("cannot read `{shown}`: {error}")).hint("make it with `htpasswd -B -c FILE USER`"))?;
        let (users, wrong) = Users::parse(&text);
        if !wrong.is_empty() {
            return Err(Finding::new(format!("`{shown}` is invalid: {}", wrong.join("; ")))
                .hint("write `name:hash` with a hash from `htpasswd -nB NAME` or `openssl passwd -6`"));
        }
        let version = RwLock::new(Version {
            stamp,
            may_change_unseen: is_fresh(stamp),
            text: Sha256::digest(&text).into(),
            users: Arc::new(users),
            is_readable: true,
        });
        Ok(Self { path, version, started: Instant::now(), checked: AtomicU64::new(0) })
    }

    /// The users, at most a second old; `None` while the file cannot be read.
    pub(super) async fn current(self: &Arc<Self>) -> Option<Arc<Users>> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        let due = now.saturating_sub(checked) >= CHECK_MILLIS
            && self.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due && self.may_have_changed() {
            let file = Arc::clone(self);
            // Only a panic fails it. The next request tries again.
            let _ = spawn_blocking(move || file.reload()).await;
        }
        let version = self.version.read().unwrap_or_else(PoisonError::into_inner);
        version.is_readable.then(|| Arc::clone(&version.users))
    }

    fn may_have_changed(&self) -> bool {
        let version = self.version.read().unwrap_or_else(PoisonError::into_inner);
        version.may_change_unseen || stamp_of(std::fs::metadata(&self.path)) != version.stamp
    }

    /// Reads the file. Whoever is no longer in it is out in every case; whoever is new is in only if the whole file is valid.
    fn reload(&self) {
        let read = read(&self.path);
        let mut version = self.version.write().unwrap_or_else(PoisonError::into_inner);
        let file = self.path.display();
        match read {
            Err(error) => {
                version.stamp = stamp_of(std::fs::metadata(&self.path));
                version.may_change_unseen = false;
                if std::mem::replace(&mut version.is_readable, false) {
                    tracing::error!(%file, %error, "cannot read the user file; nobody is let in");
                }
            }
            Ok((stamp, text)) => {
                version.stamp = stamp;
                version.may_change_unseen = is_fresh(stamp);
                let digest = Sha256::digest(&text).into();
                let was_readable = std::mem::replace(&mut version.is_readable, true);
                if was_readable && std::mem::replace(&mut version.text, digest) == digest {
                    return;
                }
                version.text = digest;
                let (mut users, wrong) = Users::parse(&text);
                if wrong.is_empty() {
                    tracing::info!(%file, users = users.names.len(), "read the changed user file");
                } else {
                    users.names.retain(|name, _| version.users.names.contains_key(name));
                    let error = wrong.join("; ");
                    tracing::error!(%file, %error, users = users.names.len(), "the changed user file is invalid; only previous users that are still in it are let in");
                }
                version.users = Arc::new(users);
            }
        }
    }
}

fn read(path: &PathBuf) -> io::Result<(Stamp, String)> {
    let file = File::open(path)?;
    let stamp = stamp_of(file.metadata());
    let mut text = String::new();
    if file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 16 MiB"));
    }
    Ok((stamp, text))
}

fn stamp_of(metadata: io::Result<std::fs::Metadata>) -> Stamp {
    metadata.ok().map(|file| {
        let (modified, changed) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        (file.dev(), file.ino(), file.len(), modified, changed)
    })
}

/// Whether the file was changed just now.
fn is_fresh(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    stamp.is_some_and(|(.., changed)| changed.0 >= now.saturating_sub(COARSEST_CLOCK).as_secs().cast_signed())
}
