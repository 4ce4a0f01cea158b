//! The pipeline file of a project.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::{App, Project};

impl Project {
    /// The text of the file.
    pub(crate) fn pipeline(&self) -> String {
        let listen = self.settings.listen.as_deref().map_or_else(|| quoted("127.0.0.1:8000"), |listen| Value::from(listen).to_string());
        let mut text = format!("{{\n  \"listen\": {listen},\n  \"layers\": [\n");
        for layer in ["request_id", "access_log", "security_headers", "compress"] {
            let _ = writeln!(text, "    \"{layer}\",");
        }
        if let Some(folder) = &self.static_files {
            let _ = writeln!(text, "    {{ \"static\": {{ \"at\": \"/static\", \"root\": {} }} }},", path(folder));
        }
        let _ = writeln!(text, "    {{ \"body_limit\": \"10MiB\" }}\n  ],\n  \"app\": {}\n}}", self.app());
        text
    }

    /// What the user should know of the file, one sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(listen) = &self.settings.listen {
            notes.push(format!("it listens on `{listen}`, as the other server did"));
        }
        if !self.settings.wsgi.is_empty() {
            let options: Vec<String> = self.settings.wsgi.iter().map(|(name, value)| format!("`{name}`: {value}")).collect();
            notes.push(format!("these options are taken over: {}", options.join(", ")));
        }
        if !self.settings.dropped.is_empty() {
            let options: Vec<String> = self.settings.dropped.iter().map(|option| format!("`{option}`")).collect();
            notes.push(format!("these options are not taken over: {}", options.join(", ")));
        }
        notes.push("request bodies over 10 MiB are refused: change `body_limit` if the app takes larger uploads".to_owned());
        notes.push("behind a proxy, add `{ \"forwarded\": { \"trust\": \"ADDRESS OF THE PROXY\" } }` as the first layer".to_owned());
        notes
    }

    fn app(&self) -> String {
        let (kind, option, app) = match &self.app {
            App::Wsgi(target) => ("wsgi", "app", quoted(target)),
            App::Django(settings) => ("django", "settings", quoted(settings)),
        };
        let mut options = Vec::new();
        if !self.base.as_os_str().is_empty() {
            options.push(format!("\"path\": {}", path(&self.base)));
        }
        let processes = self.settings.wsgi.iter().map(|(name, value)| format!("\"{name}\": {}", spaced(value)));
        match &self.app {
            App::Wsgi(_) => options.extend(processes),
            App::Django(_) if self.settings.wsgi.is_empty() => {}
            App::Django(_) => options.push(format!("\"wsgi\": {{ {} }}", processes.collect::<Vec<_>>().join(", "))),
        }
        if options.is_empty() {
            format!("{{ \"{kind}\": {app} }}")
        } else {
            format!("{{ \"{kind}\": {{ \"{option}\": {app}, {} }} }}", options.join(", "))
        }
    }
}

/// A value on one line, with the spaces that people write.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\": {}", spaced(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A JSON string in which `$` is escaped.
fn quoted(text: &str) -> String {
    Value::from(text.replace('$', "$$")).to_string()
}
