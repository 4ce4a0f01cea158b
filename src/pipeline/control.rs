//! The path of the control socket, read without the rest of the file: `ziggurat status` runs without the variables that the server has in its
//! environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Report;
use super::read::expand::{Environment, expand};
use super::read::text::{self, Dialect};
use super::tree::{Node, Value};

/// The path that `server.control` names in this file, from the folder of the file.
///
/// # Errors
///
/// If the file cannot be read or is not JSON, or a `${...}` in the path cannot be resolved.
pub(crate) fn control_socket(path: &Path, environment: Environment<'_>) -> Result<Option<PathBuf>, Report> {
    let source = Arc::new(text::load(path)?);
    let refuse = |findings| Report::new(Arc::clone(&source), findings);
    let root = text::parse(&source.text, Dialect::of(path)).map_err(refuse)?;
    let Some(mut control) = entry(root, "server").and_then(|server| entry(server, "control")) else { return Ok(None) };
    let base = path.parent().unwrap_or(Path::new(""));
    expand(&mut control, &source.text, base, environment).map_err(refuse)?;
    Ok(match control.value {
        Value::String(socket) => Some(base.join(socket)),
        _ => None,
    })
}

fn entry(node: Node, key: &str) -> Option<Node> {
    match node.value {
        Value::Object(entries) => entries.into_iter().find(|entry| entry.key == key).map(|entry| entry.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(file: &str) -> Result<Option<PathBuf>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.json");
        std::fs::write(&path, file).unwrap();
        let found = control_socket(&path, &|name| (name == "RUN").then(|| "run".into()));
        found.map(|found| found.map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())).map_err(|report| report.to_string())
    }

    #[test]
    fn the_path_is_found_in_a_file_whose_secrets_are_not_known_here() {
        let file = r#"{ "server": { "control": "${RUN}/x.sock" }, "app": { "wsgi": "${SECRET}" }, "layers": ["unknown"] }"#;
        assert_eq!(socket(file), Ok(Some("run/x.sock".into())));
    }

    #[test]
    fn a_file_may_name_none() {
        assert_eq!(socket(r#"{ "app": { "respond": 204 } }"#), Ok(None));
        assert_eq!(socket(r#"{ "server": { "drain": "1s" } }"#), Ok(None));
        assert!(socket(r#"{ "server": { "control": "${NOWHERE}" } }"#).unwrap_err().contains("NOWHERE"));
        assert!(socket("{").is_err());
    }
}
