//! What has happened to files and folders, gathered until it is quiet.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Event, EventKind};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::folders::is_code;

/// An editor that saves, or a checkout, touches several files; what follows this soon belongs together.
const QUIET: Duration = Duration::from_millis(150);
/// Something that never ends must not hide what has changed.
const LONGEST: Duration = Duration::from_secs(2);
/// More paths than these are not told apart.
const MOST: usize = 4096;

/// Told by the system's thread, asked by the site.
#[derive(Default)]
pub(super) struct Changes {
    gathered: Mutex<ChangeSet>,
    wake: Notify,
}

/// Paths that may concern the site.
#[derive(Default)]
pub(super) struct ChangeSet {
    /// Python source, the files that were asked for, and folders.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Something else has changed too, and nobody knows what.
    pub(super) more: bool,
    /// Files that count though they are no Python source.
    files: BTreeSet<PathBuf>,
}

impl Changes {
    /// Makes these files count, whatever their names.
    pub(super) fn count(&self, files: impl IntoIterator<Item = PathBuf>) {
        self.gathered().files.extend(files);
    }

    /// Takes a notice. Errors are about folders that went away, which their parents tell of.
    pub(super) fn note(&self, notice: notify::Result<Event>) {
        let Ok(event) = notice else { return };
        let mut gathered = self.gathered();
        if event.need_rescan() || gathered.paths.len() >= MOST {
            gathered.more = true;
        } else {
            let Some(whatever) = concerns(event.kind) else { return };
            let before = gathered.paths.len();
            for path in event.paths {
                if whatever || is_code(&path) || gathered.files.contains(&path) {
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

    /// What has happened, once something has and it is quiet again. What was gathered is not lost where this is dropped before.
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
    /// Whether this is a file that was asked for.
    pub(super) fn counts(&self, path: &std::path::Path) -> bool {
        self.files.contains(path)
    }
}

/// Whether an event changes anything, and if so, whether it does whatever the path is called: it may be a folder's.
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
    async fn what_never_ends_is_told_of_all_the_same() {
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
    async fn a_change_outlives_whoever_stopped_asking() {
        let changes = Changes::default();
        note(&changes, WRITTEN, "a.py");
        assert!(timeout(QUIET / 2, changes.gather()).await.is_err());
        assert!(changes.gather().await.paths.contains(Path::new("a.py")));
    }

    #[test]
    fn data_and_reading_are_no_changes_and_asked_files_and_folders_are() {
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
    fn what_is_noted_is_bounded() {
        let changes = Changes::default();
        for n in 0..MOST + 10 {
            note(&changes, WRITTEN, &format!("{n}.py"));
        }
        assert_eq!(changes.gathered().paths.len(), MOST);
        assert!(changes.gathered().more);
    }
}
