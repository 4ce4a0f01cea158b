//! Whether only root decides what is at a path. Otherwise another user could put a link there to a file that root alone may read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most links on the way to a file, as in Linux.
const LINKS: u32 = 40;

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Unsafe {
    /// Others than root can change this folder.
    Changeable(PathBuf),
    Unreadable(io::Error),
}

/// Checks each folder on the way to a file, and each link. In a folder such as `/tmp`, where everybody can create files but not replace those of others, what is on the
/// way has to be root's.
pub(super) fn check(file: &Path) -> Result<(), Unsafe> {
    let mut links = LINKS;
    let mut path = file.to_owned();
    while let Some(next) = follow(&path)? {
        links = links.checked_sub(1).ok_or_else(|| Unsafe::Unreadable(io::Error::other("too many links")))?;
        path = next;
    }
    Ok(())
}

/// The path without its first link; `None` if it has none.
fn follow(path: &Path) -> Result<Option<PathBuf>, Unsafe> {
    let mut prefix = PathBuf::new();
    let mut components = path.components();
    let mut is_shared = false;
    while let Some(component) = components.next() {
        let folder = prefix.clone();
        prefix.push(component);
        let found = match fs::symlink_metadata(&prefix) {
            // The file may be missing; the folders are not.
            Err(_) if components.as_path().as_os_str().is_empty() => return Ok(None),
            found => found.map_err(Unsafe::Unreadable)?,
        };
        if is_shared && found.uid() != 0 {
            return Err(Unsafe::Changeable(folder));
        }
        if found.is_symlink() {
            let target = fs::read_link(&prefix).map_err(Unsafe::Unreadable)?;
            return Ok(Some(folder.join(target).join(components.as_path())));
        }
        if found.is_dir() {
            is_shared = others_can_write(&found);
            let is_last = components.clone().count() <= 1;
            if found.uid() != 0 || is_shared && (is_last || found.mode() & STICKY == 0) {
                return Err(Unsafe::Changeable(prefix));
            }
        }
    }
    Ok(None)
}

/// The bit of folders whose files only their owners can replace.
const STICKY: u32 = 0o1000;

fn others_can_write(folder: &Metadata) -> bool {
    folder.mode() & 0o002 != 0 || folder.mode() & 0o020 != 0 && folder.gid() != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_path_that_another_user_can_change_anywhere_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tested: this process is not root's");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["archive", "live", "open", "theirs"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("key.pem"), "").unwrap();
        }
        symlink("../archive/key.pem", path("live/link.pem")).unwrap();
        symlink("../open/key.pem", path("live/to-open.pem")).unwrap();
        symlink("circle.pem", path("live/circle.pem")).unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o1777)).unwrap();
        chown(path("theirs"), Some(1), None).unwrap();
        let is_safe = |name: &str| check(&path(name)).is_ok();
        assert!(is_safe("archive/key.pem") && is_safe("live/link.pem") && is_safe("live/missing.pem"));
        for name in ["open/key.pem", "theirs/key.pem", "live/to-open.pem", "live/circle.pem", "no/such/folder"] {
            assert!(!is_safe(name), "{name}");
        }
        // A link of another user in a shared folder.
        symlink(path("archive"), path("open/link")).unwrap();
        assert!(is_safe("open/link/key.pem"));
        std::os::unix::fs::lchown(path("open/link"), Some(1), None).unwrap();
        assert!(!is_safe("open/link/key.pem"));
    }
}
