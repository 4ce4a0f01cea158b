//! Opens files below a folder, and never outside.
//!
//! The kernel resolves a name below the folder in one step (openat2(2), `RESOLVE_BENEATH`). If it cannot, the name is resolved first, and then opened part by part
//! without following links, so that a link that was created in between is not followed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, stat, statat};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How often the root is checked for having been replaced.
const ROOT_CHECK_MILLIS: u64 = 1_000;

/// More than a tick of the clock that most file systems take their times from.
const TICKS: Duration = Duration::from_millis(50);

/// More than the step of file systems that keep no fractions of seconds; FAT keeps every other one.
const WHOLE_SECONDS: Duration = Duration::from_millis(2_500);

// A FIFO must not block, and a terminal must not become the controlling one.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Symlinks {
    /// None.
    Never,
    /// Those that end below `root`.
    #[default]
    Within,
    /// All of them.
    Anywhere,
}

/// The folder whose files are served.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    symlinks: Symlinks,
    openat2: bool,
    held: RwLock<Arc<OwnedFd>>,
    started: Instant,
    checked: AtomicU64,
}

/// What a name refers to.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A regular file.
    File(Opened),
    /// A folder.
    Folder,
    /// Nothing that is served.
    Nothing(Absent),
}

/// Why nothing of a name is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// There is no such name.
    Missing,
    /// A link that leads out of the root.
    Leaves,
    /// A link, and none is followed; or a circle of links.
    Link,
    /// It may not be read.
    Unreadable,
    /// A FIFO, a socket, a device.
    Special,
}

impl Absent {
    /// For the log, as a part of a sentence.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "there is no such file",
            Self::Leaves => "a link leads out of the folder (option `symlinks`)",
            Self::Link => "a link is not followed (option `symlinks`), or leads in a circle",
            Self::Unreadable => "the file may not be read",
            Self::Special => "it is no regular file",
        }
    }
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: OwnedFd,
    pub(crate) stamp: Stamp,
    /// The content of a file that says that it is empty.
    pub(crate) content: Option<Bytes>,
}

/// What the file system says about a version of a file. Times are seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) len: u64,
    /// The last change of its content, or the time that a program has set.
    pub(crate) modified: (i64, u32),
    /// The last change of anything about it.
    pub(crate) changed: (i64, u32),
    /// The device and the number of the file on it.
    pub(crate) inode: (u64, u64),
}

impl Stamp {
    /// Whether any change from now on shows in it. The times of a file system are coarse, so a change right after another one may have the same time.
    pub(crate) fn tells_changes(&self) -> bool {
        let grain = if self.changed.1 == 0 { WHOLE_SECONDS } else { TICKS };
        let changed = Duration::new(u64::try_from(self.changed.0).unwrap_or(0), self.changed.1);
        SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| now.saturating_sub(changed) > grain)
    }

    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos = |nanos| u32::try_from(nanos).unwrap_or(0);
        Self {
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
            inode: (stat.st_dev, stat.st_ino),
        }
    }
}

impl Root {
    /// Opens the folder at `path`.
    pub(crate) fn new(path: PathBuf, symlinks: Symlinks) -> Result<Self, Errno> {
        let held = openat(rustix::fs::CWD, &path, FOLDER, Mode::empty())?;
        // Missing before Linux 5.6, and forbidden by the seccomp filters of some containers.
        let openat2 = openat2(&held, ".", FOLDER, Mode::empty(), ResolveFlags::BENEATH).is_ok();
        let held = RwLock::new(Arc::new(held));
        Ok(Self { path, symlinks, openat2, held, started: Instant::now(), checked: AtomicU64::new(0) })
    }

    /// The path that was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file of this name. `name` has no `..`, no NUL and no leading slash.
    pub(crate) fn open(&self, name: &[u8]) -> Result<Entry, Errno> {
        match self.open_any(if name.is_empty() { b"." } else { name }) {
            Ok(file) => classify(file),
            Err(errno) => {
                let absent = absent(errno).ok_or(errno)?;
                if absent == Absent::Unreadable {
                    tracing::warn!(root = %self.path.display(), name = %name.escape_ascii(), "a file may not be read");
                }
                Ok(Entry::Nothing(absent))
            }
        }
    }

    /// Whether a file that was opened by this name is still what the name refers to, and has not changed.
    pub(crate) fn is_unchanged(&self, name: &[u8], stamp: &Stamp) -> bool {
        // Where links lead does not matter: the same file has passed their policy.
        self.folder().and_then(|root| statat(&root, name, AtFlags::empty())).is_ok_and(|stat| Stamp::of(&stat) == *stamp)
    }

    fn open_any(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let root = self.folder()?;
        match self.symlinks {
            Symlinks::Anywhere => openat(&root, name, READ, Mode::empty()),
            Symlinks::Never => self.open_plain(&root, name),
            Symlinks::Within if self.openat2 => match beneath(&root, name, ResolveFlags::empty()) {
                // An absolute link, which may still end inside.
                Err(Errno::XDEV) => self.open_resolved(&root, name),
                opened => opened,
            },
            Symlinks::Within => match walk(&root, name) {
                Err(Errno::LOOP | Errno::NOTDIR) => self.open_resolved(&root, name),
                opened => opened,
            },
        }
    }

    /// Opens without following any link.
    fn open_plain(&self, root: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        if self.openat2 { beneath(root, name, ResolveFlags::NO_SYMLINKS) } else { walk(root, name) }
    }

    /// Resolves every link, and opens the result if it is below the root.
    fn open_resolved(&self, root: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let real = |path: &Path| path.canonicalize().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT));
        let file = real(&self.path.join(OsStr::from_bytes(name)))?;
        let inside = file.strip_prefix(real(&self.path)?).map_err(|_| Errno::XDEV)?;
        match inside.as_os_str().as_bytes() {
            b"" => self.open_plain(root, b"."),
            inside => self.open_plain(root, inside),
        }
    }

    /// The current folder: a deployment may replace it.
    fn folder(&self) -> Result<Arc<OwnedFd>, Errno> {
        let held = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner));
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        if now.saturating_sub(checked) < ROOT_CHECK_MILLIS
            || self.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(held);
        }
        let (ours, theirs) = (fstat(&held)?, stat(&self.path)?);
        if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
            return Ok(held);
        }
        let fresh = Arc::new(openat(rustix::fs::CWD, &self.path, FOLDER, Mode::empty())?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}

fn beneath(root: impl AsFd, name: &[u8], more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    // The kernel gives EAGAIN if something was renamed meanwhile.
    for _ in 0..8 {
        match openat2(&root, name, READ, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens part by part, without following links.
fn walk(root: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let mut parts = name.split(|octet| *octet == b'/');
    let last = parts.next_back().unwrap_or_default();
    let mut folder: Option<OwnedFd> = None;
    for part in parts {
        let from = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        folder = Some(openat(from, part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
    }
    let from = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    openat(from, last, READ | OFlags::NOFOLLOW, Mode::empty())
}

fn classify(file: OwnedFd) -> Result<Entry, Errno> {
    let stat = fstat(&file)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Entry::File(Opened { file, stamp: Stamp::of(&stat), content: None }),
        FileType::Directory => Entry::Folder,
        _ => Entry::Nothing(Absent::Special),
    })
}

/// What errors mean that nothing is served.
const fn absent(errno: Errno) -> Option<Absent> {
    Some(match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Absent::Missing,
        Errno::XDEV => Absent::Leaves,
        Errno::LOOP => Absent::Link,
        Errno::ACCESS | Errno::PERM => Absent::Unreadable,
        Errno::NXIO | Errno::NODEV => Absent::Special,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with every kind of link, and what each name gives under each policy: never, within, anywhere.
    #[test]
    fn links_are_followed_as_far_as_the_policy_says_with_and_without_openat2() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("root");
        fs::create_dir_all(path.join("deep/er")).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        fs::write(path.join("deep/er/file"), "inside").unwrap();
        symlink("deep/er/file", path.join("relative")).unwrap();
        symlink(path.join("deep/er/file"), path.join("absolute")).unwrap();
        symlink("../../deep", path.join("deep/er/up_inside")).unwrap();
        symlink("../secret", path.join("climbs")).unwrap();
        symlink(outer.path().join("secret"), path.join("leaves")).unwrap();
        symlink(outer.path(), path.join("folder_out")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        symlink("/proc/self/root", path.join("magic")).unwrap();

        let cases = [
            ("deep/er/file", [true, true, true]),
            ("relative", [false, true, true]),
            ("absolute", [false, true, true]),
            ("deep/er/up_inside/er/file", [false, true, true]),
            ("climbs", [false, false, true]),
            ("leaves", [false, false, true]),
            ("folder_out/secret", [false, false, true]),
            ("loop", [false, false, false]),
            ("magic/etc/passwd", [false, false, true]),
            ("deep/er/file/below", [false, false, false]),
            ("none", [false, false, false]),
        ];
        for openat2 in [true, false] {
            for (policy, symlinks) in [Symlinks::Never, Symlinks::Within, Symlinks::Anywhere].into_iter().enumerate() {
                let mut root = Root::new(path.clone(), symlinks).unwrap();
                root.openat2 &= openat2;
                for (name, expected) in cases {
                    let found = matches!(root.open(name.as_bytes()).unwrap(), Entry::File(_));
                    assert_eq!(found, expected[policy], "{name} with {symlinks:?}, openat2 {openat2}");
                }
            }
        }
    }

    #[test]
    fn a_folder_put_in_the_place_of_the_root_is_seen() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("root");
        fs::create_dir(&path).unwrap();
        let mut root = Root::new(path.clone(), Symlinks::Within).unwrap();
        fs::rename(&path, outer.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("new"), "").unwrap();
        assert!(matches!(root.open(b"new").unwrap(), Entry::Nothing(_)));
        root.started -= Duration::from_millis(ROOT_CHECK_MILLIS);
        assert!(matches!(root.open(b"new").unwrap(), Entry::File(_)));
    }
}
