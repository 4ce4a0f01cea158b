//! The lock of a store, for processes and machines that share it.
//!
//! The holder creates the file and changes a counter in it every few seconds. A watcher takes the lock for abandoned when the file has not changed for a
//! while *on its own clock*; clocks of different machines are never compared, and an empty or cut file is judged in the same way. To take over, it moves the
//! file away under a name of its own and looks whether it is the one that it watched; if another process was faster, it puts the file back. A holder that finds
//! another file in its place has lost the lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::files::{private_folder, remove};

/// How often the holder shows that it is alive.
pub(in crate::acme) const BEAT: Duration = Duration::from_secs(4);

/// How long a lock may stand still until it counts as abandoned.
pub(in crate::acme) const ABANDONED: Duration = Duration::from_secs(25);

/// A lock that is held. It is released when it is dropped.
#[derive(Debug)]
pub(in crate::acme) struct Lock {
    path: PathBuf,
    file: File,
    owner: String,
    counter: u64,
}

/// What a watcher saw in the lock of another, and since when.
#[derive(Debug, Default)]
pub(in crate::acme) struct Watch(Option<(Vec<u8>, Instant)>);

/// The outcome of a try.
#[derive(Debug)]
pub(in crate::acme) enum Tried {
    Acquired(Lock),
    /// Another process has it.
    Held,
}

impl Watch {
    /// Takes the lock if it is free or abandoned.
    pub(in crate::acme) fn try_lock(&mut self, store: &Path, now: Instant) -> io::Result<Tried> {
        private_folder(store)?;
        let path = store.join("lock");
        if let Some(lock) = Lock::create(&path)? {
            self.0 = None;
            return Ok(Tried::Acquired(lock));
        }
        let Some(seen) = content(&path)? else { return Ok(Tried::Held) };
        match &self.0 {
            Some((before, since)) if *before == seen => {
                if now.duration_since(*since) < ABANDONED {
                    return Ok(Tried::Held);
                }
            }
            _ => {
                self.0 = Some((seen, now));
                return Ok(Tried::Held);
            }
        }
        self.0 = None;
        if !move_away(&path, &seen)? {
            return Ok(Tried::Held);
        }
        tracing::warn!(store = %store.display(), "took over the lock of a process that has ended without releasing it");
        Ok(Lock::create(&path)?.map_or(Tried::Held, Tried::Acquired))
    }
}

/// Moves the lock away if it is still the one that was seen.
fn move_away(path: &Path, seen: &[u8]) -> io::Result<bool> {
    let aside = path.with_extension(format!("{:016x}.abandoned", fastrand::u64(..)));
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let is_the_same = content(&aside)?.as_deref() == Some(seen);
    if !is_the_same {
        // It fails if a third process has created one in the meantime. Then the owner of this one notices.
        let _ = fs::hard_link(&aside, path);
    }
    remove(&aside);
    Ok(is_the_same)
}

/// A bound on what is read of a lock.
const LONGEST: u64 = 1024;

fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => {
            let mut content = Vec::new();
            file.take(LONGEST).read_to_end(&mut content)?;
            Ok(Some(content))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Lock {
    /// `None` if there is one.
    fn create(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        };
        let owner = format!("{} process {} {:016x}", machine(), std::process::id(), fastrand::u64(..));
        let mut lock = Self { path: path.to_owned(), file, owner, counter: 0 };
        // If this fails, the lock is released.
        lock.beat()?;
        Ok(Some(lock))
    }

    /// Shows that the holder is alive. Returns false if the lock was lost.
    pub(in crate::acme) fn beat(&mut self) -> io::Result<bool> {
        if !self.is_held()? {
            return Ok(false);
        }
        self.counter += 1;
        // Into the open file: a lock that another process has created since is never touched.
        self.file.write_all_at(format!("{:020}\n{}\n", self.counter, self.owner).as_bytes(), 0)?;
        self.file.sync_data()?;
        Ok(true)
    }

    /// Whether the file in the place of the lock is this one.
    fn is_held(&self) -> io::Result<bool> {
        let identity = |data: &fs::Metadata| (data.dev(), data.ino());
        match fs::metadata(&self.path) {
            Ok(data) => Ok(identity(&data) == identity(&self.file.metadata()?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_held().unwrap_or(false) {
            remove(&self.path);
        }
    }
}

/// What this machine is called: part of the lock for people, and of the seed of renewals.
pub(in crate::acme) fn machine() -> String {
    let read = |file| fs::read_to_string(file).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquired(tried: io::Result<Tried>) -> Option<Lock> {
        match tried.unwrap() {
            Tried::Acquired(lock) => Some(lock),
            Tried::Held => None,
        }
    }

    #[tokio::test]
    async fn one_holds_it_and_the_next_gets_it_when_it_is_released() {
        let store = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut one, mut other) = (Watch::default(), Watch::default());
        let held = acquired(one.try_lock(store.path(), now)).unwrap();
        assert!(acquired(other.try_lock(store.path(), now)).is_none());
        drop(held);
        assert!(acquired(other.try_lock(store.path(), now)).is_some());
        assert!(!store.path().join("lock").exists());
    }

    #[tokio::test]
    async fn a_lock_whose_counter_moves_is_never_taken_over() {
        let store = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Watch::default(), Watch::default());
        let begin = Instant::now();
        let mut held = acquired(one.try_lock(store.path(), begin)).unwrap();
        for beats in 0..100 {
            assert!(acquired(other.try_lock(store.path(), begin + BEAT * beats)).is_none());
            assert!(held.beat().unwrap());
        }
    }

    #[tokio::test]
    async fn an_abandoned_lock_is_taken_over_whatever_is_in_it() {
        for content in ["", "0000", "00000000000000000001\nhost process 1 0\n", "\0\0\0\0"] {
            let store = tempfile::tempdir().unwrap();
            fs::write(store.path().join("lock"), content).unwrap();
            let mut watch = Watch::default();
            let begin = Instant::now();
            assert!(acquired(watch.try_lock(store.path(), begin)).is_none());
            assert!(acquired(watch.try_lock(store.path(), begin + ABANDONED / 2)).is_none());
            let lock = acquired(watch.try_lock(store.path(), begin + ABANDONED));
            assert!(lock.is_some(), "{content:?}");
            assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1, "nothing is left of the old one");
        }
    }

    #[tokio::test]
    async fn the_clock_in_the_file_system_does_not_matter() {
        let store = tempfile::tempdir().unwrap();
        let lock = store.path().join("lock");
        fs::write(&lock, "x").unwrap();
        let ahead = std::time::SystemTime::now() + Duration::from_secs(7200);
        File::options().write(true).open(&lock).unwrap().set_modified(ahead).unwrap();
        let mut watch = Watch::default();
        let begin = Instant::now();
        assert!(acquired(watch.try_lock(store.path(), begin)).is_none());
        assert!(acquired(watch.try_lock(store.path(), begin + ABANDONED)).is_some());
    }

    #[tokio::test]
    async fn a_holder_that_was_taken_for_dead_notices_and_leaves_the_new_lock_alone() {
        let store = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Watch::default(), Watch::default());
        let begin = Instant::now();
        let mut stopped = acquired(one.try_lock(store.path(), begin)).unwrap();
        assert!(acquired(other.try_lock(store.path(), begin)).is_none());
        let mut next = acquired(other.try_lock(store.path(), begin + ABANDONED)).unwrap();
        assert!(!stopped.beat().unwrap());
        drop(stopped);
        assert!(next.beat().unwrap());
    }

    #[tokio::test]
    async fn of_two_that_find_the_same_abandoned_lock_one_wins() {
        let store = tempfile::tempdir().unwrap();
        fs::write(store.path().join("lock"), "").unwrap();
        let (mut one, mut other) = (Watch::default(), Watch::default());
        let begin = Instant::now();
        assert!(acquired(one.try_lock(store.path(), begin)).is_none());
        assert!(acquired(other.try_lock(store.path(), begin)).is_none());
        let mut winner = acquired(one.try_lock(store.path(), begin + ABANDONED)).unwrap();
        assert!(acquired(other.try_lock(store.path(), begin + ABANDONED)).is_none());
        assert!(winner.beat().unwrap());
    }

    #[test]
    fn a_lock_that_is_not_the_one_that_was_seen_is_put_back() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("lock");
        let mut held = Lock::create(&path).unwrap().unwrap();
        assert!(!move_away(&path, b"another").unwrap());
        assert!(held.beat().unwrap());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_processes_that_take_over_at_once_never_hold_it_together() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("lock");
        for _ in 0..50 {
            fs::write(&path, "old").unwrap();
            let held: Vec<Lock> = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let moved = move_away(&path, b"old").unwrap();
                            if moved { Lock::create(&path).unwrap() } else { None }
                        })
                    })
                    .collect();
                tries.into_iter().filter_map(|tried| tried.join().unwrap()).collect()
            });
            let holding = held.iter().filter(|lock| lock.is_held().unwrap()).count();
            assert!(holding <= 1, "{holding}");
            drop(held);
            remove(&path);
        }
    }
}
