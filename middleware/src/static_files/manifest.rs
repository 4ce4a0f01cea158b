//! The names in Django's manifest of static files, `staticfiles.json`.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use serde::Deserialize;
use tokio::runtime::Handle;

use crate::files::{Entry, Opened, Root, Stamp, read};

const NAME: &[u8] = b"staticfiles.json";

/// The largest manifest.
const LARGEST: u64 = 16 << 20;

/// How often the file is checked for changes.
const CHECK_MILLIS: u64 = 1_000;

/// The manifest below a root, read again when it has changed.
#[derive(Debug)]
pub(super) struct Manifest {
    current: Arc<RwLock<Option<Version>>>,
    started: Instant,
    checked: AtomicU64,
}

#[derive(Debug)]
struct Version {
    stamp: Stamp,
    names: HashSet<Box<[u8]>>,
}

/// What `ManifestStaticFilesStorage` writes: for each name the one with the hash.
#[derive(Deserialize)]
struct Contents {
    paths: std::collections::HashMap<String, String>,
}

impl Manifest {
    /// Reads it for the first time.
    pub(super) fn of(root: &Root) -> Self {
        let current = open(root).map(|file| Version::read(&file, root.path()));
        Self { current: Arc::new(RwLock::new(current)), started: Instant::now(), checked: AtomicU64::new(0) }
    }

    /// Whether the manifest has this name; `None` if there is no manifest.
    pub(super) fn has(&self, name: &[u8], root: &Root) -> Option<bool> {
        self.refresh(root);
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|version| version.names.contains(name))
    }

    fn refresh(&self, root: &Root) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        if now.saturating_sub(checked) < CHECK_MILLIS
            || self.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let file = open(root);
        let stamp = self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|version| version.stamp);
        if file.as_ref().map(|file| file.stamp) == stamp {
            return;
        }
        let (current, path) = (Arc::clone(&self.current), root.path().to_owned());
        let read = move || {
            let version = file.map(|file| Version::read(&file, &path));
            *current.write().unwrap_or_else(PoisonError::into_inner) = version;
        };
        // Until it is read, new names are asked for again.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(read)),
            Err(_) => read(),
        }
    }
}

fn open(root: &Root) -> Option<Opened> {
    match root.open(NAME) {
        Ok(Entry::File(file)) => Some(file),
        _ => None,
    }
}

impl Version {
    fn read(file: &Opened, root: &Path) -> Self {
        let names = names(file).unwrap_or_else(|error| {
            let file = root.join(std::ffi::OsStr::from_bytes(NAME));
            tracing::warn!(file = %file.display(), error, "cannot read the manifest of static files; no file is immutable");
            HashSet::new()
        });
        Self { stamp: file.stamp, names }
    }
}

fn names(file: &Opened) -> Result<HashSet<Box<[u8]>>, String> {
    let len = usize::try_from(file.stamp.len.min(LARGEST)).unwrap_or(0);
    let text = read(&file.file, 0, len).map_err(|errno| errno.to_string())?;
    let contents: Contents = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    // Files that need no hash stand for themselves.
    let hashed = contents.paths.into_iter().filter(|(plain, hashed)| plain != hashed);
    Ok(hashed.map(|(_, hashed)| hashed.into_bytes().into()).collect())
}
