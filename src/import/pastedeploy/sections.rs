//! Sections by their names, and the options that Paste Deploy reads in one.

use super::super::NotImported;
use super::super::remarks::Place;
use super::super::remarks::Treatment::{self, Approximated, Dropped, Taken};
use super::ini::Section;
use super::loader::{Item, Loader, Wanted, merge};

/// The options of a section.
pub(super) struct Read {
    /// The global configuration: the defaults, what the parts around it have, and `set`.
    pub(super) global: Vec<(String, String)>,
    /// The options that the factory gets.
    pub(super) local: Vec<Item>,
    /// What `set` adds to the global configuration.
    pub(super) additions: Vec<(String, String)>,
}

/// Takes an option out of a list.
pub(super) fn take(items: &mut Vec<Item>, name: &str) -> Option<Item> {
    let at = items.iter().position(|item| item.name == name)?;
    Some(items.remove(at))
}

impl Loader {
    /// The index of the one section of this name.
    pub(super) fn find(&self, wanted: Wanted, file: usize, name: &str) -> Result<usize, NotImported> {
        let ini = &self.files[file];
        let has = |prefix: &str| {
            let rest = |section: &Section| Some(section.name.strip_prefix(prefix)?.strip_prefix(':')?.trim() == name);
            ini.sections.iter().position(|section| rest(section) == Some(true))
        };
        let found: Vec<usize> = wanted.prefixes().iter().filter_map(|group| group.iter().find_map(|prefix| has(prefix))).collect();
        match found[..] {
            [section] => Ok(section),
            [first, second, ..] => {
                let [first, second] = [first, second].map(|at| &ini.sections[at]);
                let message = format!("`[{}]` and `[{}]` in line {} have the same name", first.name, second.name, second.line);
                Err(NotImported(format!("{}: {message}", ini.place(first.line))))
            }
            [] => {
                let names: Vec<String> = wanted.prefixes().iter().map(|group| format!("`[{}:{}]`", group[0], super::shown(name))).collect();
                Err(NotImported(format!("`{}` has no section {}", ini.name, names.join(" or "))))
            }
        }
    }

    /// Reads the options of a section, below parts that have this global configuration.
    pub(super) fn read(&mut self, file: usize, at: usize, around: &[(String, String)]) -> Result<Read, NotImported> {
        let ini = &self.files[file];
        let section = &ini.sections[at];
        let filled = |section, setting| ini.filled(section, setting).map_err(NotImported);
        let mut defaults = vec![("here".to_owned(), ini.here.clone()), ("__file__".to_owned(), ini.path.clone())];
        for setting in &ini.defaults {
            merge(&mut defaults, &[(setting.name.clone(), filled(None, setting)?)]);
        }
        let outside: Vec<_> = ini.known.iter().filter(|(name, _)| defaults.iter().all(|(known, _)| known != name)).cloned().collect();
        defaults.extend(outside);
        let mut read = Read { global: defaults.clone(), local: Vec::new(), additions: Vec::new() };
        merge(&mut read.global, around);
        let mut gets: Vec<Item> = Vec::new();
        let mut notes: Vec<(Place, String, _, String)> = Vec::new();
        for setting in &section.settings {
            let (place, name) = (ini.place(setting.line), setting.name.as_str());
            let theirs = format!("{name} = ...");
            if let Some(name) = name.strip_prefix("set ") {
                let value = (name.trim().to_owned(), filled(Some(section), setting)?);
                merge(&mut read.global, std::slice::from_ref(&value));
                read.additions.push(value);
                notes.push((place, theirs, Taken, "in the first argument of the factory, and of those that the section names".to_owned()));
            } else if let Some(name) = name.strip_prefix("get ") {
                gets.push(Item { name: name.trim().to_owned(), value: filled(Some(section), setting)?, place });
            } else if defaults.iter().any(|(known, _)| known == name) {
                let note = format!("Paste Deploy skips it, because `[DEFAULT]` has it, too: `set {name}` replaces that");
                notes.push((place, theirs, Dropped, note));
            } else {
                read.local.push(Item { name: name.to_owned(), value: filled(Some(section), setting)?, place });
            }
        }
        for item in gets {
            let value = read.global.iter().find(|(name, _)| *name == item.value).map(|(_, value)| value.clone());
            let missing = || NotImported(format!("{}: `get {}`: `{}` is set nowhere", item.place, item.name, super::shown(&item.value)));
            read.local.push(Item { value: value.ok_or_else(missing)?, ..item.clone() });
        }
        for (place, theirs, treatment, note) in notes {
            self.remarks.once(&place, &theirs, treatment, note);
        }
        Ok(read)
    }

    /// Says what becomes of the lines that no part has used, in the order of the files.
    pub(super) fn rest(&mut self) {
        for ini in &self.files {
            for setting in &ini.defaults {
                let note = "in the first argument of every factory";
                self.remarks.once(&ini.place(setting.line), &format!("{} = ...", setting.name), Taken, note);
            }
            for section in &ini.sections {
                let (treatment, note) = unused(&section.name, self.leaves_sections);
                self.remarks.once(&ini.place(section.line), &format!("[{}]", section.name), treatment, note);
                for setting in &section.settings {
                    self.remarks.once(&ini.place(setting.line), &format!("{} = ...", setting.name), treatment, note);
                }
            }
        }
    }
}

/// What becomes of a section that no part has used.
fn unused(name: &str, leaves_sections: bool) -> (Treatment, &'static str) {
    let kind = name.split([':', '_']).next().unwrap_or_default();
    let note = match kind {
        "app" | "application" | "composite" | "composit" | "pipeline" | "filter" | "filter-app" if leaves_sections => {
            return (Approximated, "Paste Deploy may load it, for a section that it loads itself");
        }
        "app" | "application" | "composite" | "composit" | "pipeline" | "filter" | "filter-app" => {
            "nothing that is served uses this section"
        }
        "loggers" | "handlers" | "formatters" | "logger" | "handler" | "formatter" => {
            "the server sets up no logging of Python: let the app call `logging.config.fileConfig` with this file"
        }
        "server" => "a pipeline has one server, and this section is not it",
        "uwsgi" => "only what Paste Deploy reads becomes the pipeline: import the other options by themselves",
        _ => "it is no section of Paste Deploy: it stays in its file",
    };
    (Dropped, note)
}
