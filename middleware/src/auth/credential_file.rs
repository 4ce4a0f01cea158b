//! A file of credentials, read again when it has changed: users with their passwords, keys with their scopes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::{Context, Finding};

/// How often the file is checked for changes.
const CHECK_MILLIS: u64 = 1_000;

/// The largest file.
const LARGEST: u64 = 16 << 20;

/// Two changes within this time may have the same time of change, on some file systems.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// The credentials of one version of a file.
pub(crate) trait CredentialSet: Send + Sync + Sized + 'static {
    /// What the file is called in the log: `user file`.
    const FILE: &'static str;
    /// How to make a file.
    const MAKE: &'static str;
    /// How to write a line.
    const LINE: &'static str;
    /// What is in force while the file is invalid.
    const KEPT: &'static str = "only previous entries that are still in it are let in";

    /// Reads the file. Each wrong line is named, with what is wrong with it and without its secret, and lets nobody in.
    fn parse(text: &str) -> (Self, Vec<String>);

    /// The number of entries.
    fn len(&self) -> usize;

    /// Leaves what is in force while the file is invalid: of this version, what the previous one has.
    fn retain_known(&mut self, previous: &Self);
}

/// The entries of lines `name:rest`, and what is wrong with lines. `what` is what the file is about: "user". Empty lines and lines with `#` are left out. A name
/// that is there twice is left out: nobody knows which line is meant.
pub(crate) fn entries<'t, T>(
    text: &'t str,
    what: &str,
    read: impl Fn(&'t str) -> Result<T, &'static str>,
) -> (Vec<(&'t str, T)>, Vec<String>) {
    let (mut entries, mut wrong) = (Vec::<(&str, T)>::new(), Vec::new());
    let (mut known, mut twice) = (HashSet::new(), HashSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once(':').map_or((line, None), |(name, rest)| (name, Some(rest)));
        match rest.map_or(Err("there is no `:` between name and hash"), &read) {
            Ok(_) if name.is_empty() => wrong.push(format!("line {number}: the name is empty")),
            Ok(_) if !known.insert(name) => {
                wrong.push(format!("line {number}: the name is used by a line above"));
                twice.insert(name);
            }
            Ok(entry) => entries.push((name, entry)),
            Err(error) => wrong.push(format!("line {number}: {error}")),
        }
    }
    entries.retain(|(name, _)| !twice.contains(name));
    if entries.is_empty() && wrong.is_empty() {
        wrong.push(format!("it has no {what}"));
    }
    (entries, wrong)
}

/// The file, read again when it has changed.
pub(crate) struct CredentialFile<C> {
    path: PathBuf,
    version: RwLock<Version<C>>,
    started: Instant,
    checked: AtomicU64,
}

/// What was read last.
struct Version<C> {
    stamp: Stamp,
    /// The file was changed so shortly before that a further change may have left the stamp as it is.
    may_change_unseen: bool,
    text: [u8; 32],
    credentials: Arc<C>,
    /// Whether the file could be read. If not, nobody knows who has been removed.
    is_readable: bool,
}

/// Identifies a version of the file: device, inode, length, times of change. `None` while it cannot be opened.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl<C: CredentialSet> CredentialFile<C> {
    /// Reads the file for the first time.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Finding> {
        let shown = path.display();
        let (stamp, text) = read(&path).map_err(|error| Finding::new(format!("cannot read `{shown}`: {error}")).hint(C::MAKE))?;
        let (credentials, wrong) = C::parse(&text);
        if !wrong.is_empty() {
            return Err(Finding::new(format!("`{shown}` is invalid: {}", wrong.join("; "))).hint(C::LINE));
        }
        let version = RwLock::new(Version {
            stamp,
            may_change_unseen: is_fresh(stamp),
            text: Sha256::digest(&text).into(),
            credentials: Arc::new(credentials),
            is_readable: true,
        });
        Ok(Self { path, version, started: Instant::now(), checked: AtomicU64::new(0) })
    }

    /// The credentials, at most a second old; `None` while the file cannot be read.
    pub(crate) async fn current(self: &Arc<Self>) -> Option<Arc<C>> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        let due = now.saturating_sub(checked) >= CHECK_MILLIS
            && self.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due && self.may_have_changed() {
            let file = Arc::clone(self);
            // Only a panic fails it. The next request tries again.
            let _ = spawn_blocking(move || file.reload()).await;
        }
        self.last()
    }

    /// The credentials that were read last; `None` while the file cannot be read.
    pub(crate) fn last(&self) -> Option<Arc<C>> {
        let version = self.version.read().unwrap_or_else(PoisonError::into_inner);
        version.is_readable.then(|| Arc::clone(&version.credentials))
    }

    /// Has `status` tell how many entries the file has; `null` while it cannot be read.
    pub(crate) fn show(self: &Arc<Self>, context: &Context) {
        let file = Arc::clone(self);
        context.on_status(
            move || serde_json::json!({ "file": file.path.display().to_string(), "entries": file.last().map(|last| last.len()) }),
        );
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
                    tracing::error!(%file, %error, "cannot read the {}; nobody is let in", C::FILE);
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
                let (mut credentials, wrong) = C::parse(&text);
                if wrong.is_empty() {
                    tracing::info!(%file, entries = credentials.len(), "read the changed {}", C::FILE);
                } else {
                    credentials.retain_known(&version.credentials);
                    let (error, entries) = (wrong.join("; "), credentials.len());
                    tracing::error!(%file, %error, entries, "the changed {} is invalid; {}", C::FILE, C::KEPT);
                }
                version.credentials = Arc::new(credentials);
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
