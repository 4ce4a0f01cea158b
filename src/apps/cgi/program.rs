//! Which program a request is for.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use ziggurat_middleware::Problem;

/// The programs of an app.
#[derive(Debug)]
pub(super) enum Programs {
    One(PathBuf, Vec<String>),
    /// The canonical path of a folder.
    Folder(PathBuf),
}

/// A program, and how the path is split between it and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) file: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Its path below the mount: empty for a program that every request is for.
    pub(super) name: String,
    pub(super) path_info: String,
}

impl Programs {
    /// The program for a path as a client encodes it.
    ///
    /// # Errors
    ///
    /// 404 if there is none.
    pub(super) fn of_path(&self, encoded: &str) -> Result<Program, Problem> {
        let path = percent_decode_str(encoded).decode_utf8().ok();
        path.and_then(|path| self.find(&path)).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND))
    }

    /// The program for a percent-decoded path. Asks the file system.
    pub(super) fn find(&self, path: &str) -> Option<Program> {
        if path.contains('\0') || path.split('/').any(|segment| segment == "..") {
            return None;
        }
        let root = match self {
            Self::One(file, arguments) => {
                let (file, arguments) = (file.clone(), arguments.clone());
                return Some(Program { file, arguments, name: String::new(), path_info: path.to_owned() });
            }
            Self::Folder(root) => root,
        };
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            let (name, path_info) = path.split_at(end);
            let hidden = |segment: &str| segment.starts_with('.');
            if name.split('/').any(hidden) {
                return None;
            }
            let file = root.join(name.trim_start_matches('/')).canonicalize().ok().filter(|file| file.starts_with(root))?;
            if file.is_file() {
                let program = Program { file, arguments: Vec::new(), name: name.to_owned(), path_info: path_info.to_owned() };
                return is_executable(&program.file).then_some(program);
            }
        }
        None
    }
}

/// Whether a file can be run.
pub(super) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_names_a_program_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (file, mode) in [("a.cgi", 0o755), ("sub/b.cgi", 0o755), ("data.txt", 0o644), (".hidden/c.cgi", 0o755)] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("/bin/sh", root.join("sh.cgi")).unwrap();
        let programs = Programs::Folder(root);
        let find = |path| programs.find(path).map(|program| (program.name, program.path_info));
        let is = |name: &str, info: &str| Some((name.to_owned(), info.to_owned()));
        for (path, expected) in [
            ("/a.cgi", is("/a.cgi", "")),
            ("/a.cgi/x/y", is("/a.cgi", "/x/y")),
            ("/sub/b.cgi/", is("/sub/b.cgi", "/")),
            ("/", None),
            ("/sub", None),
            ("/sub/", None),
            ("/data.txt", None),
            ("/.hidden/c.cgi", None),
            ("/absent/a.cgi", None),
            ("/sub/../a.cgi", None),
            ("/sh.cgi", None),
            ("/a.cgi\0", None),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }
}
