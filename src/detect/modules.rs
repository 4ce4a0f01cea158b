//! The Python modules of a folder, and the names they are imported by.

use std::fs;
use std::path::{Path, PathBuf};

use super::python::{Line, logical_lines};

/// A bound on the number of files: a project's own code is smaller.
const MOST_FILES: usize = 2_000;
/// A bound on the size of a file: larger ones are data.
const LARGEST: u64 = 256 << 10;
/// A bound on the depth of folders.
const DEEPEST: usize = 4;

/// A module of the project.
#[derive(Debug)]
pub(super) struct Module {
    /// Its file, relative to the project's folder.
    pub(super) file: PathBuf,
    /// The folder that it is imported from, relative to the project's; empty for the project's own.
    pub(super) base: PathBuf,
    /// Its name there.
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// Folders with code that is not the project's own, or not the app's.
fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || matches!(
            name,
            "__pycache__" | "node_modules" | "site-packages" | "venv" | "env" | "build" | "dist" | "docs" | "test" | "tests" | "migrations"
        )
}

fn is_test_or_tool(name: &str) -> bool {
    name.starts_with("test_")
        || name.ends_with("_test.py")
        || matches!(name, "conftest.py" | "setup.py" | "tests.py" | "noxfile.py" | "fabfile.py")
}

/// All modules of the project in `folder`, nearest first, then by name.
pub(super) fn modules(folder: &Path) -> Vec<Module> {
    let mut files = Vec::new();
    collect(folder, Path::new(""), 0, &mut files);
    files.sort_by(|a, b| a.components().count().cmp(&b.components().count()).then_with(|| a.cmp(b)));
    files.into_iter().filter_map(|file| module(folder, file)).collect()
}

fn collect(folder: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    // Python cannot import from a folder that cannot be read.
    let Ok(entries) = fs::read_dir(folder.join(below)) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = below.join(name);
        // A link can lead out of the project, or in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let is_environment = folder.join(&path).join("pyvenv.cfg").exists();
            if depth < DEEPEST && !is_ignored(name) && !is_environment {
                collect(folder, &path, depth + 1, files);
            }
        } else if kind.is_file() && name.ends_with(".py") && !is_test_or_tool(name) && files.len() < MOST_FILES {
            files.push(path);
        }
    }
}

fn module(folder: &Path, file: PathBuf) -> Option<Module> {
    let lines = logical_lines(&text(&folder.join(&file))?);
    let (base, name) = import_name(folder, &file)?;
    Some(Module { file, base, name, lines })
}

/// The folder above the outermost package, and the name from there on.
fn import_name(folder: &Path, file: &Path) -> Option<(PathBuf, String)> {
    let mut names = vec![file.file_stem()?.to_str()?.to_owned()];
    let mut base = file.parent()?;
    while folder.join(base).join("__init__.py").is_file() && !base.as_os_str().is_empty() {
        names.push(base.file_name()?.to_str()?.to_owned());
        base = base.parent()?;
    }
    if names.len() > 1 && names[0] == "__init__" {
        names.remove(0);
    }
    names.reverse();
    Some((base.to_owned(), names.join(".")))
}

/// The text of a file of the project, unless it cannot be read, is too large or is not a file.
pub(super) fn text(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    (found.is_file() && found.len() <= LARGEST)
        .then(|| fs::read(path).ok())
        .flatten()
        .map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Whether the module `name` can be imported from `base`.
pub(super) fn exists(base: &Path, name: &str) -> bool {
    let path = base.join(name.replace('.', "/"));
    path.with_extension("py").is_file() || path.join("__init__.py").is_file()
}
