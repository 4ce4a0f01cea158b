//! uWSGI: its configuration as `.ini`, XML or YAML, and its command line.

mod app;
mod connections;
mod file;
mod folders;
mod options;
mod syntax;

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::commands::{Found, Start, Variable};
use super::draft::Draft;
use super::remarks::Treatment::{self, Dropped};
use super::remarks::{Place, Remarks};
use super::shell::{Word, after_equals};
use super::value::Value;
use super::{Imported, NotImported, read};
use crate::pipeline::closest;
use file::{Given, is_below, path_and_section};
use syntax::Form;

/// A bound on a name that is compared with others.
const LONGEST_NAME: usize = 64;

/// Whether this is a configuration of uWSGI.
pub(super) fn is_config(name: &str, text: &str) -> bool {
    Form::of(name, text).is_some()
}

/// Imports an `.ini`, or a file in XML or YAML.
pub(super) fn config(name: &str, text: &str) -> Result<Imported, NotImported> {
    let mut import = Import::default();
    let options = file::read(name, text, "uwsgi", &mut import.remarks).map_err(NotImported)?;
    import.read(options);
    import.finish()
}

/// Imports a command line of uWSGI, with the file that it names.
pub(super) fn command(folder: &Path, found: Found) -> Result<Imported, NotImported> {
    let Start { place, call, environment, sockets, remarks } = found.start("uwsgi", "uWSGI")?;
    let mut import = Import { remarks, ..Import::default() };
    import.sockets = sockets;
    for (place, name, value) in &environment {
        if !import.variable(folder, place, name, value) {
            import.remarks.add(place, name, Dropped, "it stays where it is: workers inherit the variables of the server");
        }
    }
    for (name, value) in call.environment {
        if import.variable(folder, &place, &name, &value) {
            continue;
        }
        let value = value.text().map_or(value, |text| Value::Text(format!("{name}={text}")));
        import.given.push(Given { name: "env".to_owned(), value, place: place.clone(), theirs: name, is_used: false });
    }
    import.arguments(folder, &place, &call.arguments, &environment);
    import.finish()
}

#[derive(Default)]
struct Import {
    given: Vec<Given>,
    remarks: Remarks,
    draft: Draft,
    /// Options of the `wsgi` app.
    wsgi: Map<String, Json>,
    /// The folder that relative paths start at, if it is not that of the pipeline file.
    working: Option<String>,
    /// Where the unit says that systemd passes sockets.
    sockets: Option<Place>,
    /// Routes of single files.
    files: Vec<Json>,
    /// Options whose values are not known, and where they stand: a default in their place is a guess.
    undecided: Vec<(String, Place)>,
}

impl Import {
    fn read(&mut self, options: file::Options) {
        self.given.extend(options.given);
        self.undecided.extend(options.undecided);
    }

    fn arguments(&mut self, folder: &Path, place: &Place, words: &[Word], variables: &[Variable]) {
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if word.is_variable() {
                match word.held(variables) {
                    Some(held) => {
                        self.remarks.add(
                            place,
                            &word.raw,
                            Treatment::Taken,
                            "the words that the file gives the variable stand in its place",
                        );
                        self.arguments(folder, place, &held, &[]);
                    }
                    None => {
                        let note = "what the variable holds is not known: write the options that it has by hand";
                        self.remarks.add(place, &word.raw, Dropped, note);
                    }
                }
                continue;
            }
            let Some(flag) = word.raw.strip_prefix('-') else {
                self.positional(folder, place, word);
                continue;
            };
            let Some(flag) = flag.strip_prefix('-') else {
                let next = self.letters(place, word, words.peek().copied());
                if let Some((name, value, is_next)) = next {
                    let theirs = match words.next_if(|_| is_next) {
                        Some(next) if name != "env" => format!("{} {}", word.raw, next.raw),
                        _ => word.raw.clone(),
                    };
                    match name {
                        "xml" | "yaml" => self.file(folder, place, &theirs, &value),
                        _ => self.give(name, value, place, &theirs),
                    }
                }
                continue;
            };
            let (name, attached) = match flag.split_once('=') {
                Some((name, _)) => (name, Some(after_equals(word))),
                None => (flag, None),
            };
            let canonical = options::canonical(name);
            let next =
                if attached.is_some() || options::is_flag(&canonical) { None } else { words.next_if(|next| !next.raw.starts_with('-')) };
            let value = attached.or_else(|| next.map(|next| next.value.clone())).unwrap_or(Value::Bool(true));
            if matches!(canonical.as_str(), "ini" | "xml" | "yaml") {
                self.file(folder, place, &word.raw, &value);
                continue;
            }
            let theirs = match (canonical.as_str(), next) {
                ("env", _) => "--env".to_owned(),
                (_, Some(next)) => format!("{} {}", word.raw, next.raw),
                (_, None) => word.raw.clone(),
            };
            self.given.push(Given { name: name.to_owned(), value, place: place.clone(), theirs, is_used: false });
        }
    }

    /// A variable of the environment that is an option: `UWSGI_WSGI_FILE`. Options of the command line count before it.
    fn variable(&mut self, folder: &Path, place: &Place, name: &str, value: &Value) -> bool {
        let Some(option) = name.strip_prefix("UWSGI_").map(|name| options::canonical(&name.to_ascii_lowercase())) else { return false };
        if !options::is_known(&option) {
            return false;
        }
        let theirs = match value.text() {
            Some(value) if option != "env" => format!("{name}={value}"),
            _ => name.to_owned(),
        };
        match (option.as_str(), value) {
            ("ini" | "xml" | "yaml", _) => self.file(folder, place, &theirs, value),
            // As a switch without a value.
            (_, Value::Text(text)) if text.is_empty() => self.give(&option, Value::Bool(true), place, &theirs),
            _ => self.give(&option, value.clone(), place, &theirs),
        }
        true
    }

    /// Letters behind one dash: those without a value, and at last one with its value, which may be the next word.
    fn letters(&mut self, place: &Place, word: &Word, next: Option<&Word>) -> Option<(&'static str, Value, bool)> {
        for (at, letter) in word.raw.char_indices().skip(1) {
            let Some(name) = options::letter(letter) else {
                self.remarks.add(place, &word.raw, Dropped, format!("uWSGI has no option `-{letter}`"));
                return None;
            };
            if options::is_flag(name) {
                self.give(name, Value::Bool(true), place, &word.raw);
                continue;
            }
            let attached = word.raw.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
            let value = match (attached, &word.value) {
                (Some(_), Value::Text(text)) => text.get(at + letter.len_utf8()..).map_or(Value::None, |text| Value::Text(text.to_owned())),
                (Some(_), value) => value.clone(),
                (None, _) => {
                    let next = next.filter(|next| !next.raw.starts_with('-'));
                    return Some((name, next.map_or(Value::Bool(true), |next| next.value.clone()), next.is_some()));
                }
            };
            return Some((name, value, false));
        }
        None
    }

    fn give(&mut self, name: &str, value: Value, place: &Place, theirs: &str) {
        self.given.push(Given { name: name.to_owned(), value, place: place.clone(), theirs: theirs.to_owned(), is_used: false });
    }

    /// A word without an option: a configuration, a file of Python, or an address.
    fn positional(&mut self, folder: &Path, place: &Place, word: &Word) {
        let name = match word.raw.rsplit_once('.').map(|(_, extension)| extension) {
            Some("ini" | "xml" | "yaml" | "yml") => return self.file(folder, place, "", &word.value),
            Some("py" | "wsgi") => "wsgi-file",
            _ => "socket",
        };
        self.given.push(Given {
            name: name.to_owned(),
            value: word.value.clone(),
            place: place.clone(),
            theirs: word.raw.clone(),
            is_used: false,
        });
    }

    /// Reads a file that the command line names, if it lies below its folder.
    fn file(&mut self, folder: &Path, place: &Place, option: &str, value: &Value) {
        let Some(path) = value.plain_text() else {
            return self.remarks.add(place, option, Dropped, "its name is not known before it runs: import it by itself");
        };
        let theirs = if option.contains('=') { option.to_owned() } else { format!("{option} {path}").trim().to_owned() };
        let (path, section) = path_and_section(&path);
        if !is_below(path) {
            return self.remarks.add(
                place,
                &theirs,
                Dropped,
                "only files below the folder of the command line are read: copy it there, and import again",
            );
        }
        let file = folder.join(path);
        let name = file.display().to_string();
        let given = read(&file).and_then(|text| file::read(&name, &text, section, &mut self.remarks));
        match given {
            Ok(options) => {
                self.remarks.add(place, &theirs, Treatment::Taken, format!("the options of `{name}` follow"));
                self.read(options);
            }
            Err(error) => self.remarks.add(place, &theirs, Dropped, error.lines().next().unwrap_or_default()),
        }
    }

    fn finish(mut self) -> Result<Imported, NotImported> {
        for given in &mut self.given {
            given.name = options::canonical(&given.name);
        }
        self.refusals()?;
        self.working = self.working_folder();
        self.connections();
        self.app()?;
        self.unknown();
        if !self.files.is_empty() {
            let rest = match std::mem::take(&mut self.draft.app) {
                Json::Object(mut app) if app.contains_key("routes") => app.remove("routes").unwrap_or_default(),
                app => json!([{ "app": app }]),
            };
            let files = std::mem::take(&mut self.files);
            let routes: Vec<Json> = files.into_iter().chain(rest.as_array().cloned().unwrap_or_default()).collect();
            self.draft.app = json!({ "routes": routes });
        }
        Ok(Imported { pipeline: self.draft.text(), remarks: self.remarks.sorted() })
    }

    /// Rules that keep requests from the app are no part that can be left out.
    fn refusals(&self) -> Result<(), NotImported> {
        let rule = |given: &Given| {
            let value = given.value.text().filter(|_| options::is_route(&given.name))?;
            let action = value.split_whitespace().find_map(options::refusal)?;
            // Its arguments may be passwords.
            Some(format!("{}: `{}` with `{action}` refuses requests, and is not read", given.place, given.name))
        };
        let rules: Vec<String> = self.given.iter().filter_map(rule).collect();
        if rules.is_empty() {
            return Ok(());
        }
        let hint = "write the layer `basic_auth` or `access` in place of these lines, take them out, and import again";
        Err(NotImported(format!("{}\nhint: {hint}", rules.join("\n"))))
    }

    /// All values of an option, in order.
    fn take_all(&mut self, name: &str) -> Vec<Given> {
        let (taken, rest) = std::mem::take(&mut self.given).into_iter().partition(|given| given.name == name);
        self.given = rest;
        taken
    }

    /// Takes an option over, if its value is one that `as_ours` knows. Of several values, the last counts.
    fn taken(&mut self, name: &str, as_ours: impl FnOnce(&mut Self, &Value) -> Result<(Treatment, String), String>) -> bool {
        let mut all = self.take_all(name);
        let Some(given) = all.pop() else { return false };
        for earlier in all {
            self.remarks.add(
                &earlier.place,
                &earlier.theirs,
                Dropped,
                format!("it does not count: {} says `{}`", given.place, given.theirs),
            );
        }
        let treated = match &given.value {
            Value::Code(_) => Err("its value is not known before uWSGI starts: write it by hand".to_owned()),
            value => as_ours(self, value),
        };
        let is_taken = treated.is_ok();
        if !is_taken {
            self.undecided.push((name.to_owned(), given.place.clone()));
        }
        let (treatment, note) = treated.unwrap_or_else(|note| (Dropped, note));
        self.remarks.add(&given.place, &given.theirs, treatment, note);
        is_taken
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.given.iter().rfind(|given| given.name == name).map(|given| &given.value)
    }

    fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.truth() != Some(false))
    }

    /// What uWSGI does where nothing is said.
    fn by_default(&mut self, theirs: &str, treatment: Treatment, note: &str) {
        let name = theirs.split_whitespace().next().unwrap_or_default();
        let is_about = |option: &str| option == name || name == "socket" && connections::is_socket(option);
        match self.undecided.iter().find(|(option, _)| is_about(option)) {
            Some((_, place)) => {
                let note = format!("{note}; {place} says something else, which is not known before uWSGI starts");
                self.remarks.add(&Place::default(), theirs, Treatment::Approximated, note);
            }
            None => self.remarks.add(&Place::default(), theirs, treatment, note),
        }
    }

    /// What nothing has taken. uWSGI takes a name that it does not know for a variable.
    fn unknown(&mut self) {
        let all = std::mem::take(&mut self.given);
        for given in &all {
            let note = match options::reason(&given.name) {
                Some(reason) => reason.to_owned(),
                None if options::is_known(&given.name) => "there is no counterpart".to_owned(),
                None if given.is_used => {
                    self.remarks.add(
                        &given.place,
                        &given.theirs,
                        Treatment::Taken,
                        "a variable of the file: it is filled in where it is used",
                    );
                    continue;
                }
                None => {
                    let mut letters = given.name.chars();
                    if let (Some(letter), None) = (letters.next(), letters.next()) {
                        let meant = options::letter(letter).map_or(String::new(), |name| format!(": on a command line, it is `{name}`"));
                        let note = format!("a name of one letter is a variable of the file{meant}");
                        self.remarks.add(&given.place, &given.theirs, Dropped, note);
                        continue;
                    }
                    let close = if given.name.len() <= LONGEST_NAME {
                        closest(&given.name, options::names().filter(|known| known.len().abs_diff(given.name.len()) <= 2))
                    } else {
                        None
                    };
                    let hint = close.map_or(String::new(), |known| format!(": did you mean `{known}`?"));
                    format!("it has no counterpart; a name that uWSGI does not know is a variable of the file{hint}")
                }
            };
            self.remarks.add(&given.place, &given.theirs, Dropped, note);
        }
        self.draft.app = if self.draft.app.is_null() { json!({ "wsgi": self.wsgi }) } else { std::mem::take(&mut self.draft.app) };
    }
}
