//! The folder that uWSGI changes to, what paths of options mean from there, where modules are searched, and the variables of the app.

use serde_json::{Map, Value as Json};

use super::super::remarks::Treatment::{Dropped, Taken};
use super::super::value::{Value, below};
use super::Import;
use crate::import::draft::module_path;

/// Folders that are searched for modules, the first one first. The working folder is one of them.
pub(super) struct Folders(Vec<String>);

impl Folders {
    /// `path` of an app, with the folder of its file.
    pub(super) fn path(&self, own: Option<String>) -> Option<Json> {
        module_path(own.into_iter().chain(self.0.iter().cloned()))
    }
}

impl Import {
    /// The folder that uWSGI changes to before it opens anything, if that is another one than the folder of the pipeline file.
    pub(super) fn working_folder(&self) -> Option<String> {
        self.get("chdir").and_then(Value::text).filter(|folder| !is_here(folder))
    }

    /// A path of an option, as it is from the folder of the pipeline file.
    pub(super) fn in_folder(&self, path: &str) -> String {
        below(self.working.as_deref(), path)
    }

    pub(super) fn folders(&mut self) -> Folders {
        let working = self.working.clone();
        // uWSGI puts each of them before those above.
        let mut path = Vec::new();
        for given in self.take_all("pythonpath") {
            match given.value.text() {
                Some(folder) => {
                    path.insert(0, below(working.as_deref(), &folder));
                    self.remarks.add(&given.place, &given.theirs, Taken, "`path`");
                }
                None => self.remarks.add(&given.place, &given.theirs, Dropped, "it is not known before uWSGI starts"),
            }
        }
        path.push(working.clone().unwrap_or_else(|| ".".to_owned()));
        for option in ["chdir", "chdir2"] {
            let from = if option == "chdir2" { working.as_deref() } else { None };
            self.taken(option, |import, value| {
                let folder = value.text().ok_or("it is no path")?;
                if is_here(&folder) {
                    return Ok((Taken, "it is the folder of the pipeline file, as by default".to_owned()));
                }
                let folder = below(from, &folder);
                import.wsgi.insert("chdir".into(), folder.as_str().into());
                path.push(folder);
                Ok((Taken, "`chdir` and `path`".to_owned()))
            });
        }
        Folders(path)
    }

    /// Variables of the app.
    pub(super) fn variables(&mut self) {
        let mut env = Map::new();
        for given in self.take_all("env") {
            match given.value.text().as_deref().and_then(|text| text.split_once('=')) {
                Some((name, value)) => {
                    self.remarks.add(&given.place, &given.theirs, Taken, format!("`env`: `{}`", name.trim()));
                    env.insert(name.trim().to_owned(), value.into());
                }
                None => self.remarks.add(&given.place, &given.theirs, Dropped, "it is no `NAME=value` that is known before uWSGI starts"),
            }
        }
        if !env.is_empty() {
            self.wsgi.insert("env".into(), env.into());
        }
    }
}

/// Whether a folder is the one of the pipeline file.
fn is_here(folder: &str) -> bool {
    matches!(folder.trim_end_matches('/'), "" | ".") && !folder.starts_with('/')
}
