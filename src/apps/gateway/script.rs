//! Which script a request is for.

use std::path::{Path, PathBuf};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use ziggurat_middleware::Problem;

/// The scripts in a folder.
#[derive(Debug)]
pub(super) struct Scripts {
    root: PathBuf,
    index: String,
    split: String,
}

/// A script, and the rest of the path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// Its file as the app sees it.
    pub(super) file: PathBuf,
    /// Its path below the mount, with a slash at the beginning.
    pub(super) name: String,
    /// What follows it in the path.
    pub(super) path_info: String,
}

impl Scripts {
    pub(super) const fn new(root: PathBuf, index: String, split: String) -> Self {
        Self { root, index, split }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The script for a path as a client encodes it.
    ///
    /// # Errors
    ///
    /// 404 if there is none.
    pub(super) fn of_path(&self, encoded: &str) -> Result<Script, Problem> {
        let path = percent_decode_str(encoded).decode_utf8().ok();
        path.and_then(|path| self.find(&path)).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND))
    }

    /// The script for a percent-decoded path. `None` if there is none. Asks the file system.
    pub(super) fn find(&self, path: &str) -> Option<Script> {
        if path.contains('\0') || path.split('/').any(|segment| segment == "..") {
            return None;
        }
        let is_here = self.root.is_dir();
        let script = |name: &str, path_info: &str| Script {
            file: self.root.join(name.trim_start_matches('/')),
            name: name.to_owned(),
            path_info: path_info.to_owned(),
        };
        if let Some(end) = self.end_of_script(path) {
            let found = script(&path[..end], &path[end..]);
            return (!is_here || found.file.is_file()).then_some(found);
        }
        let folder = script(&format!("{}/{}", path.trim_end_matches('/'), self.index), "");
        if is_here && folder.file.is_file() {
            return Some(folder);
        }
        Some(script(&format!("/{}", self.index), ""))
    }

    /// Where the first segment that ends as scripts do ends.
    fn end_of_script(&self, path: &str) -> Option<usize> {
        path.match_indices(&self.split)
            .map(|(at, found)| at + found.len())
            .find(|end| matches!(path.as_bytes().get(*end), None | Some(b'/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_one_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        for file in ["index.php", "a.php", "shop/index.php", "image.jpg"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let here = Scripts::new(root.path().to_owned(), "index.php".to_owned(), ".php".to_owned());
        let elsewhere = Scripts::new("/nowhere/at/all".into(), "index.php".to_owned(), ".php".to_owned());
        let find = |scripts: &Scripts, path| scripts.find(path).map(|script| (script.name, script.path_info));
        let is = |name: &str, info: &str| Some((name.to_owned(), info.to_owned()));
        for (path, at_hand, remote) in [
            ("/", is("/index.php", ""), is("/index.php", "")),
            ("/a.php", is("/a.php", ""), is("/a.php", "")),
            ("/a.php/b/c.php", is("/a.php", "/b/c.php"), is("/a.php", "/b/c.php")),
            ("/shop/", is("/shop/index.php", ""), is("/index.php", "")),
            ("/2024/a-post/", is("/index.php", ""), is("/index.php", "")),
            ("/a.phpx", is("/index.php", ""), is("/index.php", "")),
            ("/a.phpx/b.php", None, is("/a.phpx/b.php", "")),
            // An image that somebody has uploaded is not run.
            ("/image.jpg/x.php", None, is("/image.jpg/x.php", "")),
            ("/../a.php", None, None),
            ("/a.php\0", None, None),
        ] {
            assert_eq!((find(&here, path), find(&elsewhere, path)), (at_hand, remote), "{path}");
        }
        assert_eq!(here.find("/shop/").unwrap().file, root.path().join("shop/index.php"));
    }
}
