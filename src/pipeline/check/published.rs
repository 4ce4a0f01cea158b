//! Static files whose folder holds the pipeline file or the code of an app: clients could read both.

use std::path::{Path, PathBuf};

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Event, File, Part};
use crate::pipeline::tree::{Node, Span, Value};

/// Something that clients must not read. Paths are canonical.
struct Private {
    folder: PathBuf,
    /// What it is, and where the file names it.
    what: String,
    named: Option<Span>,
}

/// Findings about every `static` of a file at `path`. Folders that do not exist are none of them.
pub(super) fn check(file: &File, path: &Path) -> Vec<Diagnostic> {
    let base = path.parent().unwrap_or(Path::new(""));
    let of_file = |folder: Option<PathBuf>| Some(Private { folder: folder?, what: "the pipeline file".to_owned(), named: None });
    // The file may be a link.
    let real = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    let mut private: Vec<Private> = [of_file(real), of_file(canonical(base))].into_iter().flatten().collect();
    let mut roots = Vec::new();
    for stack in file.stacks() {
        stack.walk(|event, _| match event {
            Event::Layer(_, part) | Event::App(part) if part.kind.is_python() => private.extend(code(part, base)),
            Event::Layer(_, part) | Event::App(part) if part.kind.name == "static" => roots.extend(root(part, base)),
            _ => {}
        });
    }
    let holding = |(folder, span): (PathBuf, Span)| Some((private.iter().find(|private| private.folder.starts_with(&folder))?, span));
    roots.into_iter().filter_map(holding).map(|(private, span)| finding(private, span)).collect()
}

fn finding(private: &Private, span: Span) -> Diagnostic {
    let finding = Diagnostic::error(Id::PublishedCode, format!("`static` would let clients read {}", private.what), span)
        .label(format!("this folder holds {}", private.what))
        .hint("move what clients may read into a folder of its own, such as `static`, and name that one");
    match &private.named {
        Some(named) => finding.related(named.clone(), "its name"),
        None => finding,
    }
}

/// The folder of a `static`.
fn root(part: &Part, base: &Path) -> Option<(PathBuf, Span)> {
    let option = part.options.nearest(&["root".into()]);
    let folder = text(option).unwrap_or("static");
    Some((canonical(&base.join(folder))?, option.span.clone()))
}

/// The code of a Python part: the package that its name begins with, or the folder of the module, where the search for modules finds them. What is installed is
/// not among it.
fn code(part: &Part, base: &Path) -> Option<Private> {
    let option = |name: &str| Some(part.options.nearest(&[name.into()])).filter(|node| !std::ptr::eq(*node, &part.options));
    let target = option("app").or_else(|| option("middleware"))?;
    let name = text(target)?.split([':', '.']).next().filter(|name| !name.is_empty())?;
    let folders: Vec<&str> = match option("path").map(|path| &path.value) {
        Some(Value::Array(folders)) => folders.iter().filter_map(text).collect(),
        Some(Value::String(folder)) => vec![folder],
        _ => vec!["."],
    };
    let folder = folders.into_iter().find_map(|folder| {
        let folder = base.join(folder);
        let package = folder.join(name);
        if package.is_dir() {
            canonical(&package)
        } else if folder.join(format!("{name}.py")).is_file() {
            canonical(&folder)
        } else {
            None
        }
    })?;
    Some(Private { folder, what: format!("the code of `{}`", part.place), named: Some(target.span.clone()) })
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn canonical(folder: &Path) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::pipeline::Pipeline;

    /// Whether a site with this root of its files, in `site/pipeline.json`, is refused, and why.
    fn refusal(root: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        for made in ["site/public", "site/code/shop/assets", "elsewhere"] {
            fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        fs::write(site.join("code/single.py"), "").unwrap();
        symlink("../site", folder.path().join("elsewhere/link")).unwrap();
        symlink("../code", site.join("public/code")).unwrap();
        let text = format!(
            r#"{{ "app": {{ "routes": [
                {{ "mount": "/files", "app": {{ "static": {{ "root": "{root}", "at": "/" }} }} }},
                {{ "mount": "/shop", "app": {{ "wsgi": {{ "app": "shop.wsgi:application", "path": ["../elsewhere", "code"] }} }} }},
                {{ "app": {{ "wsgi": {{ "app": "single:app", "path": "code" }} }} }}
            ] }} }}"#
        );
        fs::write(site.join("pipeline.json"), &text).unwrap();
        symlink("../site/pipeline.json", folder.path().join("elsewhere/linked.json")).unwrap();
        let [plain, linked] = ["site/pipeline.json", "elsewhere/linked.json"].map(|path| {
            let read = Pipeline::load(&folder.path().join(path), &crate::builtin(), &|_| None);
            read.err().map(|report| report.to_json()[0]["message"].as_str().unwrap().to_owned())
        });
        // From the folder of the link, relative folders lead elsewhere.
        assert!(!root.starts_with('/') || plain == linked);
        plain
    }

    #[test]
    fn a_folder_that_holds_the_file_or_code_is_refused_however_it_is_reached() {
        let file = "`static` would let clients read the pipeline file";
        for root in [".", "..", "public/..", "../elsewhere/link", "/"] {
            assert_eq!(refusal(root).as_deref(), Some(file), "{root}");
        }
        for (root, place) in [("code", "shop/wsgi"), ("public/code", "shop/wsgi"), ("code/shop", "shop/wsgi")] {
            assert_eq!(refusal(root), Some(format!("`static` would let clients read the code of `{place}`")), "{root}");
        }
    }

    #[test]
    fn a_folder_beside_or_inside_of_code_is_no_finding() {
        for root in ["public", "code/shop/assets", "../elsewhere", "nowhere"] {
            assert_eq!(refusal(root), None, "{root}");
        }
    }
}
