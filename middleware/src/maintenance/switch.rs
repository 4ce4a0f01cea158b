//! Whether the site is closed: an option, and a file that is looked for once a second.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use crate::{Finding, Result};

/// For how long what is known of the file counts.
const CHECK_MILLIS: u64 = 1_000;

/// The switch of one layer.
pub(super) struct Switch {
    is_on: bool,
    file: Option<SwitchFile>,
}

struct SwitchFile {
    path: PathBuf,
    begin: Instant,
    /// When the file is looked for again, in milliseconds from `begin`.
    due: AtomicU64,
    is_there: AtomicBool,
    /// Whether the last look failed, which is logged once.
    is_hidden: AtomicBool,
}

impl Switch {
    /// A switch that is on, or while this file is there.
    pub(super) fn new(is_on: bool, file: Option<PathBuf>) -> Result<Self> {
        Ok(Self { is_on, file: file.map(SwitchFile::new).transpose()? })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_on || self.file.as_ref().is_some_and(SwitchFile::is_there)
    }

    /// Why the site is closed or open, as the end of a sentence.
    pub(super) fn reason(&self) -> String {
        match &self.file {
            _ if self.is_on => "`on` says so".to_owned(),
            Some(file) if self.is_closed() => format!("`{}` is there", file.path.display()),
            Some(file) => format!("`{}` is not there", file.path.display()),
            None => "`on` is false".to_owned(),
        }
    }
}

impl SwitchFile {
    fn new(path: PathBuf) -> Result<Self> {
        let is_there = exists(&path).map_err(|error| {
            let finding = Finding::new(format!("cannot look for `{}`: {error}", path.display())).at("file");
            finding.hint("let the user of the server search the folder")
        })?;
        Ok(Self {
            path,
            begin: Instant::now(),
            due: AtomicU64::new(CHECK_MILLIS),
            is_there: AtomicBool::new(is_there),
            is_hidden: AtomicBool::new(false),
        })
    }

    fn is_there(&self) -> bool {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.due.load(Relaxed);
        // Of the requests that come when it is due, one looks.
        if now >= due && self.due.compare_exchange(due, now.saturating_add(CHECK_MILLIS), Relaxed, Relaxed).is_ok() {
            self.look();
        }
        self.is_there.load(Relaxed)
    }

    /// Looks for the file. Where that fails, what was known stays.
    fn look(&self) {
        match exists(&self.path) {
            Ok(is_there) => {
                self.is_hidden.store(false, Relaxed);
                if self.is_there.swap(is_there, Relaxed) != is_there {
                    let path = self.path.display();
                    match is_there {
                        true => tracing::info!("closed for maintenance: `{path}` is there"),
                        false => tracing::info!("open again: `{path}` is gone"),
                    }
                }
            }
            Err(error) if !self.is_hidden.swap(true, Relaxed) => {
                let state = if self.is_there.load(Relaxed) { "closed" } else { "open" };
                tracing::warn!("cannot look for `{}`: {error}; the site stays {state}", self.path.display());
            }
            Err(_) => {}
        }
    }
}

/// Whether there is anything at this path, links followed. A path through something that is no folder leads nowhere.
fn exists(path: &Path) -> std::io::Result<bool> {
    match path.try_exists() {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        other => other,
    }
}
