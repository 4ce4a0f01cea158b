//! Copies of the folders of examples/, in which a program can run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::virtual_env;

/// The Django site with its database, its static files, notes and a user.
pub(crate) fn prepared_django() -> tempfile::TempDir {
    let folder = copy_of("django");
    let prepared = python_command(folder.path()).args(["manage.py", "prepare", "--demo"]).output().unwrap();
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    folder
}

/// The example as a clone has it: without what runs left behind.
pub(crate) fn copy_of(example: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&repository().join("examples").join(example), folder.path());
    folder
}

/// Copies a folder, without what runs left behind.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(name)).unwrap();
        } else if name != "var" && name != "__pycache__" {
            copy(&entry.path(), &to.join(name));
        }
    }
}

pub(crate) fn python_command(folder: &Path) -> Command {
    let mut command = Command::new(virtual_env().join("bin/python"));
    command.current_dir(folder).env_remove("PYTHONPATH");
    command
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
