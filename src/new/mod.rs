//! `ziggurat new`: writes a small crate with a layer of its own, which builds, tests and runs as it is.

mod name;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use name::Name;

use crate::pipeline::Kind;

/// Every file of the crate: its path and its text. Names in double braces are filled in.
const TEMPLATE: [(&str, &str); 11] = [
    (".gitignore", include_str!("template/gitignore.in")),
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md")),
    ("build.rs", include_str!("template/build.rs")),
    ("hello.py", include_str!("template/hello.py")),
    ("pipeline.json", include_str!("template/pipeline.json")),
    ("pyproject.toml", include_str!("template/pyproject.toml")),
    ("python/{{module}}/__init__.py", include_str!("template/python/__init__.py")),
    ("python/{{module}}/__main__.py", include_str!("template/python/__main__.py")),
    ("src/lib.rs", include_str!("template/src/lib.rs")),
    ("src/main.rs", include_str!("template/src/main.rs")),
];

/// Why no crate was written.
#[derive(Debug)]
pub(crate) enum Error {
    /// The arguments are wrong: a message with a hint.
    Refused(String),
    /// A file could not be written.
    Failed(PathBuf, io::Error),
}

/// Writes the crate `name` into the folder of that name below `parent`, and returns the next steps for its author. The crate depends on the Ziggurat in
/// `checkout`; without one, on the sources that this program was built from; if they are gone, on the released version. `layers` are the existing
/// layers.
pub(crate) fn create(parent: &Path, name: &str, checkout: Option<&Path>, layers: &[Kind]) -> Result<String, Error> {
    let name = Name::new(name).map_err(Error::Refused)?;
    if layers.iter().any(|layer| layer.name == name.module) {
        return Err(Error::Refused(format!(
            "error: a layer `{}` already exists, and the new one would replace it\nhint: choose another name",
            name.module
        )));
    }
    let ziggurat = dependency(checkout).map_err(Error::Refused)?;
    let folder = parent.join(&name.package);
    if !is_free(&folder) {
        return Err(Error::Refused(format!(
            "error: `{}` already exists and is not an empty folder\nhint: choose another name",
            name.package
        )));
    }
    let fill = |text: &str| {
        [
            ("{{crate}}", name.package.as_str()),
            ("{{module}}", &name.module),
            ("{{layer}}", &name.module),
            ("{{Type}}", &name.type_),
            ("{{header}}", &name.header()),
            ("{{ziggurat}}", &ziggurat),
        ]
        .iter()
        .fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
    };
    for (path, text) in TEMPLATE {
        let path = folder.join(fill(path));
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, fill(text)));
        written.map_err(|error| Error::Failed(path, error))?;
    }
    Ok(fill(include_str!("next_steps.txt")))
}

/// Whether there is no such folder, or an empty one.
fn is_free(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        // A dangling link is in the way too.
        Err(error) => error.kind() == io::ErrorKind::NotFound && folder.symlink_metadata().is_err(),
    }
}

/// The value of the dependency `ziggurat` in Cargo.toml.
fn dependency(checkout: Option<&Path>) -> Result<String, String> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = match checkout {
        Some(folder) if !is_checkout(folder) => {
            let hint = "`--path` is the folder with its `Cargo.toml` and `middleware`";
            return Err(format!("error: `{}` does not hold the sources of Ziggurat\nhint: {hint}", folder.display()));
        }
        Some(folder) => folder,
        None if is_checkout(built_from) => built_from,
        None => return Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))),
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let Some(path) = folder.to_str() else {
        return Err(format!("error: the path `{}` is not UTF-8, which Cargo.toml needs", folder.display()));
    };
    // A string of TOML may be written as one of JSON.
    Ok(format!("{{ path = {} }}", serde_json::Value::from(path)))
}

/// Whether this folder holds Ziggurat's sources. (Cargo unpacks the crates of a registry into separate folders.)
fn is_checkout(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line == "name = \"ziggurat\"") && folder.join("middleware/Cargo.toml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(parent: &Path, name: &str, checkout: Option<&Path>) -> String {
        match create(parent, name, checkout, crate::builtin().layers()) {
            Err(Error::Refused(message)) => message,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("build-stamp")).unwrap();
        let steps = create(parent.path(), "build-stamp", None, &[]).unwrap();
        assert!(!steps.contains("{{") && steps.contains("cd build-stamp"), "{steps}");
        for (path, _) in TEMPLATE {
            let text = fs::read_to_string(parent.path().join("build-stamp").join(path.replace("{{module}}", "build_stamp"))).unwrap();
            assert!(!text.contains("{{"), "{path}: {text}");
        }
        let source = fs::read_to_string(parent.path().join("build-stamp/src/lib.rs")).unwrap();
        assert!(
            source.contains("pub struct BuildStamp")
                && source.contains("NAME: &'static str = \"build_stamp\"")
                && source.contains("\"x-build-stamp\"")
        );
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("stamp")).unwrap();
        fs::write(parent.path().join("stamp/notes"), "mine").unwrap();
        fs::write(parent.path().join("tenant"), "mine").unwrap();
        std::os::unix::fs::symlink("nowhere", parent.path().join("link")).unwrap();
        for name in ["stamp", "tenant", "link"] {
            assert!(refusal(parent.path(), name, None).contains("already exists"));
        }
        assert_eq!(fs::read_dir(parent.path().join("stamp")).unwrap().count(), 1);
    }

    #[test]
    fn layers_that_there_are_keep_their_names() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["compress", "body-limit", "wsgi"] {
            assert!(refusal(parent.path(), name, None).contains("already exists"), "{name}");
        }
    }

    #[test]
    fn a_folder_without_ziggurat_is_no_checkout() {
        let parent = tempfile::tempdir().unwrap();
        assert!(refusal(parent.path(), "stamp", Some(parent.path())).contains("does not hold the sources"));
        assert!(!parent.path().join("stamp").exists());
    }

    #[test]
    fn the_checkout_is_named_by_its_full_path() {
        assert_eq!(dependency(Some(Path::new("."))).unwrap(), format!("{{ path = \"{}\" }}", env!("CARGO_MANIFEST_DIR")));
    }
}
