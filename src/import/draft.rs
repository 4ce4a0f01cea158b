//! The pipeline file that an import writes.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

/// The most columns of an object or a list on one line.
const WIDTH: usize = 100;

/// The parts of a pipeline file, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) listen: Vec<Value>,
    pub(super) server: Map<String, Value>,
    pub(super) layers: Vec<Value>,
    /// Findings that are meant.
    pub(super) allow: Vec<Value>,
    pub(super) apps: Map<String, Value>,
    pub(super) app: Value,
}

impl Draft {
    /// The text of the file.
    pub(super) fn text(self) -> String {
        let mut file = Map::new();
        if let Some(listen) = one_or_many(self.listen) {
            file.insert("listen".into(), listen);
        }
        if !self.server.is_empty() {
            file.insert("server".into(), self.server.into());
        }
        if !self.layers.is_empty() {
            file.insert("layers".into(), self.layers.into());
        }
        if !self.allow.is_empty() {
            file.insert("allow".into(), self.allow.into());
        }
        file.insert("app".into(), self.app);
        if !self.apps.is_empty() {
            file.insert("apps".into(), self.apps.into());
        }
        let mut text = "{\n".to_owned();
        let last = file.len() - 1;
        for (at, (key, value)) in file.iter().enumerate() {
            let comma = if at == last { "" } else { "," };
            text.push_str(&format!("  {}: {}{comma}\n", Value::from(key.as_str()), laid_out(value, 2, key.len() + 6)));
        }
        text.push_str("}\n");
        text
    }
}

/// A value by itself, or several as a list.
pub(super) fn one_or_many(mut values: Vec<Value>) -> Option<Value> {
    match values.len() {
        0 => None,
        1 => values.pop(),
        _ => Some(values.into()),
    }
}

/// `path` of a `wsgi` app: these folders, each once. The folder of the pipeline file alone is the default.
pub(super) fn module_path(folders: impl IntoIterator<Item = String>) -> Option<Value> {
    let mut known: Vec<PathBuf> = Vec::new();
    let mut path: Vec<Value> = Vec::new();
    for folder in folders {
        let plain: PathBuf = Path::new(&folder).components().filter(|part| *part != Component::CurDir).collect();
        if !known.contains(&plain) {
            path.push(if plain.as_os_str().is_empty() { ".".into() } else { folder.into() });
            known.push(plain);
        }
    }
    one_or_many(path).filter(|path| path != ".")
}

/// On one line if that is short enough after `before` columns, else an entry a line.
fn laid_out(value: &Value, indent: usize, before: usize) -> String {
    let line = on_one_line(value);
    if line.len() + before <= WIDTH {
        return line;
    }
    let inner = indent + 2;
    let (open, entries, close) = match value {
        Value::Array(items) => ('[', items.iter().map(|item| laid_out(item, inner, inner + 1)).collect::<Vec<_>>(), ']'),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::from(key.as_str()), laid_out(value, inner, inner + key.len() + 5))
            };
            ('{', entries.iter().map(entry).collect(), '}')
        }
        _ => return line,
    };
    let between = format!(",\n{:inner$}", "");
    format!("{open}\n{:inner$}{}\n{:indent$}{close}", "", entries.join(&between), "")
}

/// With the spaces that people write.
fn on_one_line(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(on_one_line).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), on_one_line(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
