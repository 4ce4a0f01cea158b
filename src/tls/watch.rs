//! Notices changes of certificate files.
//!
//! The folders of all files are watched, and those of the links on the way to them: certbot replaces links, Kubernetes replaces the link of a folder. Not every change can
//! be seen (network file systems, mounts), so the content is looked at every minute too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use ziggurat_middleware::Context;

use super::server::TlsServer;

/// How often files are looked at if no change is seen.
const POLL: Duration = Duration::from_secs(60);

/// As `POLL`, while something is wrong with a file.
const POLL_PROBLEM: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Changes that follow each other this soon are one.
const QUIET: Duration = Duration::from_millis(100);

/// The most links on the way to a file, as in Linux.
const LINKS: u32 = 40;

/// Uses changed files of a listener until the stack retires.
pub(crate) fn watch(server: Arc<TlsServer>, context: &Context) {
    let changed = Arc::new(Notify::new());
    let mut folders = WatchedFolders::new(Arc::clone(&changed));
    // From before the first look on, so that no change is missed.
    folders.update(&server.paths());
    context.spawn(async move {
        let mut warned = None;
        loop {
            if warned.is_none_or(|warned: Instant| warned.elapsed() >= DAY) {
                server.warn();
                warned = Some(Instant::now());
            }
            let poll = if server.has_problems() { POLL_PROBLEM } else { POLL };
            if timeout(poll, changed.notified()).await.is_ok() {
                // Looked at now and then, however busy a folder is.
                sleep(QUIET).await;
            }
            let looked_at = Arc::clone(&server);
            let paths = spawn_blocking(move || {
                looked_at.refresh();
                looked_at.paths()
            });
            let Ok(paths) = paths.await else { return tracing::error!("the task that watches certificates panicked") };
            folders.update(&paths);
        }
    });
}

/// The folders that are watched.
struct WatchedFolders {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl WatchedFolders {
    fn new(changed: Arc<Notify>) -> Self {
        let heard = move |event: notify::Result<notify::Event>| {
            let is_change = |kind: EventKind| !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
            if event.is_ok_and(|event| is_change(event.kind)) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(heard);
        let watcher = watcher.inspect_err(|error| tracing::warn!("changed certificates are noticed within a minute, not at once: {error}"));
        Self { watcher: watcher.ok(), folders: BTreeSet::new() }
    }

    fn update(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeSet::new();
        for path in paths {
            collect_folders(path, LINKS, &mut wanted);
        }
        for gone in self.folders.difference(&wanted) {
            let _ = watcher.unwatch(gone);
        }
        // A folder that cannot be watched is tried again the next time.
        self.folders = wanted.into_iter().filter(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()).collect();
    }
}

/// The folders in which a change may change what is at `path`: its own, and that of each link on the way.
fn collect_folders(path: &Path, links: u32, found: &mut BTreeSet<PathBuf>) {
    let mut prefix = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        prefix.push(component);
        let Ok(target) = fs::read_link(&prefix) else { continue };
        let folder = prefix.parent().unwrap_or(Path::new("/")).to_owned();
        if links > 0 {
            collect_folders(&folder.join(target).join(components.as_path()), links - 1, found);
        }
        found.insert(folder);
        return;
    }
    found.extend(path.parent().map(Path::to_owned));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_folders_of_all_links_on_the_way_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let path = |name: &str| base.join(name);
        // As Kubernetes mounts a secret: `tls.crt` is in `..data`, which is a link to a folder.
        fs::create_dir_all(path("mount/..2026")).unwrap();
        fs::write(path("mount/..2026/tls.crt"), "").unwrap();
        symlink("..2026", path("mount/..data")).unwrap();
        symlink("..data/tls.crt", path("mount/tls.crt")).unwrap();
        symlink(path("mount/tls.crt"), path("site.pem")).unwrap();
        let mut found = BTreeSet::new();
        collect_folders(&path("site.pem"), LINKS, &mut found);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [path(""), path("mount"), path("mount/..2026")].map(|path| path.components().collect::<PathBuf>())
        );
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        collect_folders(&folder.path().join("a"), LINKS, &mut BTreeSet::new());
    }
}
