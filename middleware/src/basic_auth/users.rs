//! The htpasswd file and the users in it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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
    /// Reads the lines of a file. The error names each wrong line and what is wrong with it, without the hash.
    fn parse(text: &str) -> Result<Self, String> {
        let mut users = Self { hashes: Vec::new(), names: HashMap::new(), seed: RandomState::new() };
        let mut wrong = Vec::new();
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
                Ok(_) if users.names.contains_key(name) => wrong.push(format!("line {number}: the name is used by a line above")),
                Ok(hash) => {
                    users.names.insert(name.to_owned(), users.hashes.len());
                    users.hashes.push(hash);
                }
                Err(error) => wrong.push(format!("line {number}: {error}")),
            }
        }
        if users.hashes.is_empty() && wrong.is_empty() {
            wrong.push("it has no user".to_owned());
        }
        if wrong.is_empty() { Ok(users) } else { Err(wrong.join("; ")) }
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
    current: RwLock<Arc<Users>>,
    stamp: RwLock<Stamp>,
    started: Instant,
    checked: AtomicU64,
}

/// Identifies a version of the file: device, inode, length, time of change. `None` while it cannot be opened.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl UserFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf) -> Result<Self, Finding> {
        let shown = path.display();
        let (stamp, text) = read(&path)
            .map_err(|error| Finding::new(format!("cannot read `{shown}`: {error}")).hint("make it with `htpasswd -B -c FILE USER`"))?;
        let users = Users::parse(&text).map_err(|wrong| {
            Finding::new(format!("`{shown}` is invalid: {wrong}"))
                .hint("write `name:hash` with a hash from `htpasswd -nB NAME` or `openssl passwd -6`")
        })?;
        let (current, stamp) = (RwLock::new(Arc::new(users)), RwLock::new(stamp));
        Ok(Self { path, current, stamp, started: Instant::now(), checked: AtomicU64::new(0) })
    }

    /// The users, at most a second old.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<Users> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        let due = now.saturating_sub(checked) >= CHECK_MILLIS
            && self.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due && stamp_of(std::fs::metadata(&self.path)) != *self.stamp.read().unwrap_or_else(PoisonError::into_inner) {
            let file = Arc::clone(self);
            // Only a panic fails it. The previous users stay.
            let _ = spawn_blocking(move || file.reload()).await;
        }
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) {
        let (stamp, users) = match read(&self.path) {
            Ok((stamp, text)) => (stamp, Users::parse(&text)),
            Err(error) => (stamp_of(std::fs::metadata(&self.path)), Err(error.to_string())),
        };
        match users {
            Ok(users) => {
                tracing::info!(file = %self.path.display(), users = users.hashes.len(), "read the changed user file");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
            }
            Err(error) => tracing::error!(file = %self.path.display(), %error, "the changed user file is invalid; the previous users stay"),
        }
        *self.stamp.write().unwrap_or_else(PoisonError::into_inner) = stamp;
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
    metadata.ok().map(|file| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
