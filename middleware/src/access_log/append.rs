//! Opens log files.
//!
//! A server that runs as root opens files in folders of other users. Their owner could put a link to a system file in place of the log. So root follows only links that
//! root made in a folder where nobody else can replace them, and in other folders writes only to regular files with one name.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf, absolute};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fcntl_getfl, fcntl_setfl, fstat, fstatfs, openat, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

// A FIFO must not block, and a terminal must not become the controlling one.
const APPEND: OFlags =
    OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::CREATE).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file to append to; creates it if there is none.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    if geteuid().is_root() { append_as(path, 0) } else { OpenOptions::new().append(true).create(true).open(path) }
}

/// Opens the file as this user, who may write where others may not.
fn append_as(path: &Path, user: u32) -> io::Result<File> {
    let mut folder = openat(CWD, "/", FOLDER, Mode::empty())?;
    let mut parts = reversed(&absolute(path)?);
    let mut links = 0;
    while let Some(part) = parts.pop() {
        let is_last = parts.is_empty();
        let opened = if is_last {
            openat(&folder, &part, APPEND | OFlags::NOFOLLOW, Mode::from_raw_mode(0o666))
        } else {
            openat(&folder, &part, FOLDER, Mode::empty())
        };
        match opened {
            Ok(file) if is_last => return accept(file, &folder, path, user),
            Ok(next) => folder = next,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if fstatfs(&folder)?.f_type == PROC_SUPER_MAGIC {
                    // The kernel makes the links there, such as `/proc/self/fd/1`, and some name no path.
                    return accept(openat(&folder, &part, APPEND, Mode::empty())?, &folder, path, user);
                }
                let target = trusted_link(&folder, &part, user)?;
                if target.is_absolute() {
                    folder = openat(CWD, "/", FOLDER, Mode::empty())?;
                }
                parts.extend(reversed(&target));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::ISDIR.into())
}

/// The parts of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).rev().collect()
}

/// Where a link leads that only this user or root can have made.
fn trusted_link(folder: &OwnedFd, name: &OsStr, user: u32) -> io::Result<PathBuf> {
    let link = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
        return Err(Errno::NOTDIR.into());
    }
    if !is_trusted(&link, user) || !is_exclusive(&fstat(folder)?, user) {
        let name = name.as_bytes().escape_ascii();
        return Err(io::Error::other(format!("`{name}` is a link that another user may have put there; root does not follow it")));
    }
    Ok(OsString::from_vec(readlinkat(folder, name, Vec::new())?.into_bytes()).into())
}

fn accept(file: OwnedFd, folder: &OwnedFd, path: &Path, user: u32) -> io::Result<File> {
    let stat = fstat(&file)?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    if !is_plain && !is_exclusive(&fstat(folder)?, user) {
        let path = path.display();
        return Err(io::Error::other(format!("another user may have put `{path}` there, and it is not a regular file with one name")));
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file.into())
}

/// Whether nobody but root and this user can change what is in the folder.
fn is_exclusive(folder: &Stat, user: u32) -> bool {
    is_trusted(folder, user) && folder.st_mode & 0o022 == 0
}

const fn is_trusted(stat: &Stat, user: u32) -> bool {
    stat.st_uid == 0 || stat.st_uid == user
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder of the user, and one in it that everybody may write to.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let (own, shared) = (outer.path().join("own"), outer.path().join("shared"));
        for (folder, mode) in [(&own, 0o755), (&shared, 0o777)] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
        (outer, own, shared)
    }

    fn append(path: &Path) -> io::Result<()> {
        append_as(path, geteuid().as_raw())?.write_all(b"line\n")
    }

    #[test]
    fn a_file_is_created_and_appended_to_wherever_it_is() {
        let (_outer, own, shared) = folders();
        for folder in [own, shared] {
            let path = folder.join("access.log");
            append(&path).unwrap();
            append(&folder.join("../").join(folder.file_name().unwrap()).join("access.log")).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "line\nline\n");
        }
    }

    #[test]
    fn what_another_user_may_have_put_there_is_not_written_to() {
        let (outer, own, shared) = folders();
        let victim = own.join("victim");
        fs::write(&victim, "").unwrap();
        symlink(&victim, shared.join("link")).unwrap();
        symlink("../own/victim", shared.join("relative")).unwrap();
        symlink(own.join("new"), shared.join("dangling")).unwrap();
        symlink(&own, shared.join("folder")).unwrap();
        fs::hard_link(&victim, shared.join("name")).unwrap();
        rustix::fs::mknodat(CWD, shared.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        symlink("../shared/link", own.join("chain")).unwrap();
        for name in ["link", "relative", "dangling", "folder/victim", "name", "fifo", "../own/chain"] {
            append(&shared.join(name)).unwrap_err();
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "");
        assert!(!outer.path().join("own/new").exists());
    }

    #[test]
    fn links_that_nobody_else_can_replace_are_followed() {
        let (_outer, own, shared) = folders();
        symlink("../shared/access.log", own.join("access.log")).unwrap();
        symlink(&shared, own.join("logs")).unwrap();
        symlink("loop", own.join("loop")).unwrap();
        append(&own.join("access.log")).unwrap();
        append(&own.join("logs/access.log")).unwrap();
        assert_eq!(fs::read_to_string(shared.join("access.log")).unwrap(), "line\nline\n");
        append(&own.join("loop")).unwrap_err();
        append(&own).unwrap_err();
    }
}
