//! The pipeline file of a project.

use std::fmt::Write;
use std::path::Path;

use super::{App, Project};

impl Project {
    /// The text of the file.
    pub(crate) fn pipeline(&self) -> String {
        let mut text = "{\n  \"listen\": \"127.0.0.1:8000\",\n  \"layers\": [\n".to_owned();
        for layer in ["request_id", "access_log", "security_headers", "compress"] {
            let _ = writeln!(text, "    \"{layer}\",");
        }
        if let Some(folder) = &self.static_files {
            let _ = writeln!(text, "    {{ \"static\": {{ \"at\": \"/static\", \"root\": {} }} }},", path(folder));
        }
        let _ = writeln!(text, "    {{ \"body_limit\": \"10MiB\" }}\n  ],\n  \"app\": {}\n}}", self.app());
        text
    }

    fn app(&self) -> String {
        let (kind, option, app) = match &self.app {
            App::Wsgi(target) => ("wsgi", "app", quoted(target)),
            App::Django(settings) => ("django", "settings", quoted(settings)),
        };
        if self.base.as_os_str().is_empty() {
            format!("{{ \"{kind}\": {app} }}")
        } else {
            format!("{{ \"{kind}\": {{ \"{option}\": {app}, \"path\": {} }} }}", path(&self.base))
        }
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A JSON string in which `$` is escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}
