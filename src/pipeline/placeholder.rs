//! A pipeline in place of a broken file, on the same addresses, so that a browser can show what is wrong.

use std::path::Path;

use super::read::expand::Environment;
use super::read::text::{self, Dialect};
use super::tree::{Node, Value};
use super::{Pipeline, Registry, Report};

impl Pipeline {
    /// A pipeline that answers 500 on the addresses of this file; if they are wrong too, on `127.0.0.1:8000`.
    pub(crate) fn placeholder(path: &Path, registry: &Registry, environment: Environment<'_>) -> Result<Self, Report> {
        let with = |listen: &str| {
            let text = format!("{{ {listen} \"app\": {{ \"respond\": 500 }} }}");
            let base = path.parent().unwrap_or(Path::new(""));
            Self::from_text(&path.display().to_string(), &text, base, registry, environment)
        };
        match listen(path).map(|listen| with(&format!("\"listen\": {listen},"))) {
            Some(Ok(pipeline)) => Ok(pipeline),
            _ => with(""),
        }
    }
}

/// The value of `listen` in the text.
fn listen(path: &Path) -> Option<String> {
    let source = text::load(path).ok()?;
    let Node { value: Value::Object(entries), .. } = text::parse(&source.text, Dialect::of(path)).ok()? else { return None };
    let listen = entries.into_iter().find(|entry| entry.key == "listen")?;
    source.text.get(listen.value.span).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(file: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.jsonc");
        std::fs::write(&path, file).unwrap();
        let pipeline = Pipeline::placeholder(&path, &crate::builtin(), &|name| (name == "PORT").then(|| "8001".into())).unwrap();
        pipeline.listen().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_broken_file_is_replaced_on_its_own_addresses() {
        let broken = r#"{ "listen": [":${PORT}", /* too */ "unix:x.sock"], "layers": ["unknown"], "app": { "wsgi": "${UNSET}" } }"#;
        assert_eq!(addresses(broken), [":8001", "unix:x.sock"]);
    }

    #[test]
    fn where_the_addresses_are_wrong_it_is_this_machine_alone() {
        for broken in ["{", "", "[]", r#"{ "app": 1 }"#, r#"{ "listen": 7, "app": 1 }"#, r#"{ "listen": ":${UNSET}" }"#] {
            assert_eq!(addresses(broken), ["127.0.0.1:8000"], "{broken}");
        }
    }
}
