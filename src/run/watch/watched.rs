//! The watched folders: by file system events, or by polling if the system has no watches left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, ErrorKind, EventHandler, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use super::changes::{ChangeSet, Changes};
use super::folders::{below, holds_code, is_source};

/// The most folders that are watched. In a larger tree those nearest to its root are watched.
const MOST: usize = 10_000;
/// How often folders are polled.
const INTERVAL: Duration = Duration::from_secs(1);

/// Folders, each with a watch of its own, so that skipped folders need none.
pub(super) struct WatchedFolders {
    changes: Arc<Changes>,
    watcher: Option<Box<dyn Watcher + Send>>,
    polls: bool,
    /// Folders whose source is watched.
    code: BTreeSet<PathBuf>,
    /// Folders of single files that are watched.
    others: BTreeSet<PathBuf>,
}

impl WatchedFolders {
    pub(super) fn new(changes: Arc<Changes>) -> Self {
        let mut watched = Self { changes, watcher: None, polls: false, code: BTreeSet::new(), others: BTreeSet::new() };
        match RecommendedWatcher::new(watched.event_handler(), Config::default()) {
            Ok(watcher) => watched.watcher = Some(Box::new(watcher)),
            Err(error) => watched.poll_instead(&error),
        }
        watched
    }

    /// Watches the source of a tree.
    pub(super) fn watch_code(&mut self, root: &Path) {
        let room = MOST.saturating_sub(self.code.len());
        let found = below(root, room + 1);
        if found.len() > room {
            tracing::warn!("`{}` has more folders than can be watched: changes far down in it are not seen", root.display());
        }
        for folder in found.into_iter().take(room) {
            if self.code.insert(folder.clone()) {
                self.add(&folder);
            }
        }
    }

    /// Watches a folder because of single files in it.
    pub(super) fn watch_files(&mut self, folder: &Path) {
        if self.others.insert(folder.to_owned()) {
            self.add(folder);
        }
    }

    /// Returns the paths that belong to the site. Watches new folders and forgets removed ones.
    pub(super) fn sort_out(&mut self, gathered: &ChangeSet) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for path in &gathered.paths {
            let in_code = path.parent().is_some_and(|folder| self.code.contains(folder));
            if gathered.counts(path) || (is_source(path) && in_code) {
                changed.push(path.clone());
                continue;
            }
            if self.code.contains(path) {
                // It was removed or replaced, and the watch is on the old folder.
                self.code.retain(|folder| !folder.starts_with(path));
                changed.push(path.clone());
            }
            if in_code && path.symlink_metadata().is_ok_and(|entry| entry.is_dir()) && holds_code(path) {
                self.watch_code(path);
                changed.extend(self.code_below(path));
            }
        }
        changed
    }

    /// How many folders are watched, and how.
    pub(super) fn describe(&self) -> String {
        let number = self.code.union(&self.others).count();
        let folders = if number == 1 { "folder" } else { "folders" };
        format!("watching {number} {folders}{}", if self.polls { ", by polling every second" } else { "" })
    }

    /// Source in the watched folders of a tree, which may be older than the watch.
    fn code_below(&self, root: &Path) -> Vec<PathBuf> {
        let folders = self.code.iter().filter(|folder| folder.starts_with(root));
        let entries = folders.filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| is_source(path)).collect()
    }

    fn add(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            Err(error) if !self.polls && is_limit(&error) => {
                self.poll_instead(&error);
                self.add_all();
            }
            // A folder that cannot be read cannot be imported from. The removal of a folder is an event of its parent.
            Err(error) => tracing::debug!("`{}` is not watched: {error}", folder.display()),
        }
    }

    fn add_all(&mut self) {
        for folder in self.code.union(&self.others).cloned().collect::<Vec<_>>() {
            self.add(&folder);
        }
    }

    /// Polls from now on.
    fn poll_instead(&mut self, error: &notify::Error) {
        let limit = match error.kind {
            ErrorKind::MaxFilesWatch => "; raise `sysctl fs.inotify.max_user_watches`",
            ErrorKind::Io(_) if is_limit(error) => "; raise `sysctl fs.inotify.max_user_instances`",
            _ => "",
        };
        tracing::warn!("file system events are not available ({error}){limit}. Folders are polled every second instead");
        self.polls = true;
        match PollWatcher::new(self.event_handler(), Config::default().with_poll_interval(INTERVAL)) {
            Ok(watcher) => self.watcher = Some(Box::new(watcher)),
            Err(error) => {
                tracing::warn!("changes are not seen: {error}");
                self.watcher = None;
            }
        }
    }

    fn event_handler(&self) -> impl EventHandler + use<> {
        let changes = Arc::clone(&self.changes);
        move |notice| changes.note(notice)
    }
}

/// Whether the system has no more watches.
fn is_limit(error: &notify::Error) -> bool {
    const TOO_MANY_OPEN_FILES: i32 = 24;
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => error.raw_os_error() == Some(TOO_MANY_OPEN_FILES),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn site() -> (tempfile::TempDir, Arc<Changes>, WatchedFolders) {
        let site = tempfile::tempdir().unwrap();
        fs::create_dir(site.path().join("pkg")).unwrap();
        let changes = Arc::new(Changes::default());
        let watched = WatchedFolders::new(Arc::clone(&changes));
        (site, changes, watched)
    }

    /// Waits for a change that concerns the site.
    async fn changed(changes: &Changes, watched: &mut WatchedFolders) -> Vec<PathBuf> {
        loop {
            let changed = watched.sort_out(&changes.gather().await);
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    #[tokio::test]
    async fn a_folder_that_was_replaced_is_watched_again() {
        let (site, changes, mut watched) = site();
        let pkg = site.path().join("pkg");
        watched.watch_code(site.path());
        assert_eq!(watched.describe(), "watching 2 folders");
        fs::remove_dir(&pkg).unwrap();
        assert_eq!(changed(&changes, &mut watched).await, std::slice::from_ref(&pkg));
        assert_eq!(watched.describe(), "watching 1 folder");
        fs::create_dir(&pkg).unwrap();
        fs::write(pkg.join("a.py"), "").unwrap();
        assert_eq!(changed(&changes, &mut watched).await, [pkg.join("a.py")]);
        fs::write(pkg.join("b.py"), "").unwrap();
        assert_eq!(changed(&changes, &mut watched).await, [pkg.join("b.py")]);
    }

    #[tokio::test]
    async fn folders_are_polled_where_the_system_has_no_events() {
        let (site, changes, mut watched) = site();
        watched.watch_code(site.path());
        watched.poll_instead(&notify::Error::new(ErrorKind::MaxFilesWatch));
        watched.add_all();
        assert_eq!(watched.describe(), "watching 2 folders, by polling every second");
        fs::write(site.path().join("pkg/a.py"), "").unwrap();
        assert_eq!(changed(&changes, &mut watched).await, [site.path().join("pkg/a.py")]);
    }
}
