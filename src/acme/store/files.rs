//! Files that are whole or not there, for one user alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is at the place of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::acme) enum Read<T> {
    Missing,
    /// Why it cannot be read as what it should be.
    Damaged(String),
    Whole(T),
}

impl<T> Read<T> {
    /// What can be used.
    pub(in crate::acme) fn whole(self) -> Option<T> {
        match self {
            Self::Whole(record) => Some(record),
            Self::Missing | Self::Damaged(_) => None,
        }
    }
}

/// A bound on the length of an entry.
const LONGEST: u64 = 1 << 20;

/// Makes a folder, and those above it, for this user alone. Folders that exist stay as they are.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The folders in a folder, and those in them.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let outer = inside(root);
    outer.iter().flat_map(|folder| inside(folder)).chain(outer.clone()).collect()
}

pub(super) fn read<T: DeserializeOwned>(file: &Path) -> io::Result<Read<T>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::Missing),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    opened.take(LONGEST).read_to_end(&mut text)?;
    Ok(match serde_json::from_slice(&text) {
        Ok(record) => Read::Whole(record),
        Err(error) => Read::Damaged(error.to_string()),
    })
}

/// Writes the entry beside its place, makes sure that it is on the disk, and renames it.
pub(super) fn write(file: &Path, record: &impl Serialize) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    private_folder(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{:016x}.new", fastrand::u64(..)));
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    let written = (|| {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        new.write_all(&text)?;
        new.sync_all()?;
        fs::rename(&beside, file)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    // The name too is to survive a loss of power. Some file systems cannot, and that is no reason to fail.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    remove_unfinished(folder);
    Ok(())
}

/// Removes what processes have left that were killed while they wrote.
fn remove_unfinished(folder: &Path) {
    each_older(folder, UNFINISHED, |file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".new") {
            remove(file);
        }
    });
}

/// No write takes so long.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// Removes the files of a folder that were written longer ago than this.
pub(super) fn remove_older(folder: &Path, age: Duration) {
    each_older(folder, age, remove);
}

fn each_older(folder: &Path, age: Duration, act: impl Fn(&Path)) {
    let Some(before) = SystemTime::now().checked_sub(age) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.metadata().and_then(|data| data.modified()).is_ok_and(|modified| modified < before) {
            act(&entry.path());
        }
    }
}

/// Removes a file. One that cannot be removed does no harm.
pub(super) fn remove(file: &Path) {
    let _ = fs::remove_file(file);
}

/// Moves a damaged entry out of the way. The one that was set aside before is overwritten, so there is one at most.
pub(super) fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let aside = file.with_extension("json.damaged");
    fs::rename(file, &aside)?;
    Ok(aside)
}
