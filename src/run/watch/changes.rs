//! File system events, collected until none follow.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Event, EventKind};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::folders::is_source;

/// Saving or a checkout changes several files. Events that follow each other this soon are one change.
const QUIET: Duration = Duration::from_millis(150);
/// Events that never pause are reported after this time.
const LONGEST: Duration = Duration::from_secs(2);
/// Beyond this number single paths are not recorded.
const MOST: usize = 4096;

/// Written by the thread of the file system events, read by the main loop.
#[derive(Default)]
pub(super) struct Changes {
    gathered: Mutex<ChangeSet>,
    wake: Notify,
}

/// Paths that changed and may belong to the site.
#[derive(Default)]
pub(super) struct ChangeSet {
    /// Source, single files that are watched, and folders.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Other paths have changed too and were not recorded.
    pub(super) more: bool,
    /// Single files that are watched, whatever their names.
    files: BTreeSet<PathBuf>,
}

impl Changes {
    /// Adds single files to watch, whatever their names.
    pub(super) fn count(&self, files: impl IntoIterator<Item = PathBuf>) {
        self.gathered().files.extend(files);
    }

    /// Records an event. Errors are about removed folders, which events of their parents report too.
    pub(super) fn note(&self, notice: notify::Result<Event>) {
        let Ok(event) = notice else { return };
        let mut gathered = self.gathered();
        if event.need_rescan() || gathered.paths.len() >= MOST {
            gathered.more = true;
        } else {
            let Some(whatever) = concerns(event.kind) else { return };
            let before = gathered.paths.len();
            for path in event.paths {
                if whatever || is_source(&path) || gathered.files.contains(&path) {
                    gathered.paths.insert(path);
                }
            }
            if gathered.paths.len() == before {
                return;
            }
        }
        drop(gathered);
        self.wake.notify_one();
    }

    /// Waits for changes and for a pause after them. If this is dropped before, no change is lost.
    pub(super) async fn gather(&self) -> ChangeSet {
        while self.is_empty() {
            self.wake.notified().await;
        }
        let begin = Instant::now();
        while begin.elapsed() < LONGEST && timeout(QUIET, self.wake.notified()).await.is_ok() {}
        let mut gathered = self.gathered();
        ChangeSet { paths: std::mem::take(&mut gathered.paths), more: std::mem::take(&mut gathered.more), files: gathered.files.clone() }
    }

    fn is_empty(&self) -> bool {
        let gathered = self.gathered();
        gathered.paths.is_empty() && !gathered.more
    }

    fn gathered(&self) -> MutexGuard<'_, ChangeSet> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeSet {
    /// Whether this is a single file that is watched.
    pub(super) fn counts(&self, path: &std::path::Path) -> bool {
        self.files.contains(path)
    }
}

/// `None` if an event changes nothing, otherwise whether it counts for any path, because the path may be a folder.
fn concerns(kind: EventKind) -> Option<bool> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(false),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::File) | EventKind::Remove(RemoveKind::File) => Some(false),
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Some(true),
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::event::DataChange;

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    fn note(changes: &Changes, kind: EventKind, path: &str) {
        changes.note(Ok(Event::new(kind).add_path(path.into())));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_close_together_are_one() {
        let changes = Changes::default();
        note(&changes, WRITTEN, "a.py");
        let gathered = async {
            let gathered = changes.gather().await;
            gathered.paths.into_iter().collect::<Vec<_>>()
        };
        let second = async {
            tokio::time::sleep(QUIET / 2).await;
            note(&changes, WRITTEN, "b.py");
        };
        assert_eq!(tokio::join!(gathered, second).0, [Path::new("a.py"), Path::new("b.py")]);
        assert!(changes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn events_without_a_pause_are_reported() {
        let changes = Changes::default();
        let noise = async {
            loop {
                note(&changes, WRITTEN, "a.py");
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        tokio::select! {
            gathered = changes.gather() => assert!(gathered.paths.contains(Path::new("a.py"))),
            () = noise => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_kept_if_nobody_waits_for_it() {
        let changes = Changes::default();
        note(&changes, WRITTEN, "a.py");
        assert!(timeout(QUIET / 2, changes.gather()).await.is_err());
        assert!(changes.gather().await.paths.contains(Path::new("a.py")));
    }

    #[test]
    fn data_and_reading_are_no_changes_and_watched_files_and_folders_are() {
        let changes = Changes::default();
        note(&changes, WRITTEN, "site.db");
        note(&changes, EventKind::Access(AccessKind::Open(AccessMode::Any)), "a.py");
        note(&changes, EventKind::Create(CreateKind::File), "site.db-journal");
        assert!(changes.is_empty());
        changes.count(["pipeline.json".into()]);
        note(&changes, WRITTEN, "pipeline.json");
        note(&changes, EventKind::Create(CreateKind::Folder), "pkg");
        assert_eq!(changes.gathered().paths.len(), 2);
    }

    #[test]
    fn recorded_paths_are_limited() {
        let changes = Changes::default();
        for n in 0..MOST + 10 {
            note(&changes, WRITTEN, &format!("{n}.py"));
        }
        assert_eq!(changes.gathered().paths.len(), MOST);
        assert!(changes.gathered().more);
    }
}
