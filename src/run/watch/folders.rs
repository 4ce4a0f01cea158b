//! Which folders hold code: a tree without the folders of tools.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

/// `root` and the folders below it, at most `most`, nearest first. Links are not followed. Hidden folders, caches, packages of other languages and virtual
/// environments are skipped, except `root` itself.
pub(super) fn below(root: &Path, most: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = VecDeque::from([root.to_owned()]);
    while let Some(folder) = waiting.pop_front().filter(|_| found.len() < most) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
        waiting.extend(folders.filter(|folder| holds_code(folder)));
        found.push(folder);
    }
    found
}

/// Whether a folder inside a site holds code of the site.
pub(super) fn holds_code(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && name != "__pycache__" && name != "node_modules" && !folder.join("pyvenv.cfg").exists()
}

/// Names of files that frameworks read as source: Python modules, templates (which Django and Jinja keep once they are compiled), compiled translations.
const SOURCES: [&str; 14] = ["py", "html", "htm", "xhtml", "djhtml", "jinja", "jinja2", "j2", "mako", "mak", "pt", "tmpl", "tpl", "mo"];

/// Names of files that are source in a folder of templates only.
const TEMPLATES: [&str; 3] = ["txt", "xml", "md"];

/// Whether a path names source: Python, or a template.
pub(super) fn is_source(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    let is_among = |names: &[&str]| names.iter().any(|name| extension == *name);
    is_among(&SOURCES) || (is_among(&TEMPLATES) && path.components().any(|part| part.as_os_str() == "templates"))
}

/// Removes the compiled files of a source file. Python compares size and modification time in whole seconds, which misses a second save within one
/// second. (Other files have none.)
pub(super) fn remove_compiled(source: &Path) {
    let (Some(folder), Some(stem)) = (source.parent(), source.file_stem()) else { return };
    let stem = format!("{}.", stem.to_string_lossy());
    let Ok(entries) = fs::read_dir(folder.join("__pycache__")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&stem) && Path::new(&name).extension().is_some_and(|extension| extension == "pyc") {
            // Without permission to remove it, Python compares as usual.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().unwrap();
        for folder in ["pkg/sub", "pkg/__pycache__", ".git/objects", "node_modules/x", "env/lib"] {
            fs::create_dir_all(site.path().join(folder)).unwrap();
        }
        fs::write(site.path().join("env/pyvenv.cfg"), "").unwrap();
        std::os::unix::fs::symlink(site.path(), site.path().join("pkg/loop")).unwrap();
        site
    }

    #[test]
    fn only_folders_with_code_of_the_site_are_found() {
        let site = site();
        let found = below(site.path(), 100);
        let names: Vec<_> = found.iter().map(|folder| folder.strip_prefix(site.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["", "pkg", "pkg/sub"]);
    }

    #[test]
    fn modules_and_templates_are_source_and_data_is_not() {
        let source =
            ["views.py", "templates/home.html", "mail/welcome.j2", "templates/mail/welcome.txt", "locale/de/LC_MESSAGES/django.mo"];
        let data = ["site.db", "notes.txt", "media/photo.jpg", "site.db-journal", "access.log", "static/site.css", "py"];
        assert!(source.iter().all(|name| is_source(Path::new(name))) && !data.iter().any(|name| is_source(Path::new(name))));
    }

    #[test]
    fn a_large_tree_is_cut_far_from_its_root() {
        let site = site();
        assert_eq!(below(site.path(), 2), [site.path().to_owned(), site.path().join("pkg")]);
    }

    #[test]
    fn the_compiled_files_of_one_source_are_removed() {
        let site = site();
        let cache = site.path().join("pkg/__pycache__");
        for name in ["views.cpython-311.pyc", "views.cpython-311.opt-1.pyc", "views_of_others.cpython-311.pyc"] {
            fs::write(cache.join(name), "").unwrap();
        }
        remove_compiled(&site.path().join("pkg/views.py"));
        let left: Vec<_> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["views_of_others.cpython-311.pyc"]);
    }
}
