//! `gunicorn.conf.py`: the settings that it assigns at its top. It is Python, and is not run.

use std::collections::HashMap;

use super::super::NotImported;
use super::super::python::{Names, evaluate};
use super::super::remarks::{Place, Remarks, Treatment};
use super::super::value::Value;
use super::options::{self, HOOKS};
use super::settings::{GunicornSettings, Rank};
use crate::detect::python::{Line, is_name, logical_lines, split, split_at};

/// The most statements that are read.
const MOST_LINES: usize = 2_000;

/// Reads the assignments of a file.
///
/// # Errors
///
/// If it is not Python.
pub(super) fn read(file: &str, text: &str, settings: &mut GunicornSettings, remarks: &mut Remarks) -> Result<(), NotImported> {
    let mut lines = logical_lines(text);
    if let Some((line, fault)) = lines.iter().find_map(|line| Some((line, line.fault?))) {
        let hint = "gunicorn does not start with this file: mend it, and import again";
        return Err(NotImported(format!("{}: {fault}\nhint: {hint}", Place::new(file, line.number))));
    }
    if let Some(line) = lines.get(MOST_LINES) {
        remarks.add(&Place::new(file, line.number), &line.text, Treatment::Dropped, "nothing is read from here on: the file is too long");
    }
    lines.truncate(MOST_LINES);
    let mentioned = last_mentions(&lines);
    let mut reader = Reader { names: Names::new(), settings, remarks };
    // Whether lines below are those of a function or a class.
    let mut is_body = false;
    for (at, line) in lines.iter().enumerate() {
        let place = Place::new(file, line.number);
        if line.indent > 0 {
            if !is_body {
                reader.inner(line, &place);
            }
            continue;
        }
        is_body = ["def ", "class ", "async def ", "@"].iter().any(|word| line.text.starts_with(word));
        if let Some((name, _)) = line.function() {
            if HOOKS.contains(&name) {
                hook(name, &place, reader.remarks);
            } else {
                reader.remarks.add(&place, &line.text, Treatment::Dropped, "functions of the file are not called");
            }
        } else if line.text.starts_with("import ") || line.text.starts_with("from ") {
            reader.import(line, &place);
        } else if let Some(bindings) = bindings(line) {
            for (name, expression) in bindings {
                let is_used = mentioned.get(name).is_some_and(|last| *last > at);
                reader.binding(name, &expression, line, &place, is_used);
            }
        } else {
            reader.code(line, &place);
        }
    }
    Ok(())
}

/// What is known while the lines of a file are read.
struct Reader<'a> {
    names: Names,
    settings: &'a mut GunicornSettings,
    remarks: &'a mut Remarks,
}

impl Reader<'_> {
    /// A name gets a value.
    fn binding(&mut self, name: &str, expression: &str, line: &Line, place: &Place, is_used: bool) {
        let value = evaluate(expression, &self.names);
        if HOOKS.contains(&name) {
            hook(name, place, self.remarks);
        } else if let Some(setting) = options::setting(name) {
            let theirs = if setting == "raw_env" { format!("{name} = ...") } else { line.text.clone() };
            self.settings.give(setting, value.clone(), place, &theirs, Rank::File);
        } else if is_used {
            let (treatment, note) = match &value {
                Value::Code(_) => (Treatment::Dropped, "it is code, which is not run: what uses the name is not known"),
                _ => (Treatment::Taken, "a name of the file: its value stands where it is used"),
            };
            self.remarks.add(place, &format!("{name} = ..."), treatment, note);
        } else {
            let hint = options::suggestion(name, options::names()).map_or(String::new(), |known| format!(": did you mean `{known}`?"));
            self.remarks.add(place, &line.text, Treatment::Dropped, format!("gunicorn has no such setting, and ignores it{hint}"));
        }
        match value {
            Value::Code(_) => drop(self.names.remove(name)),
            value => drop(self.names.insert(name.to_owned(), value)),
        }
    }

    /// A line below an `if`, `for`, `try` or `with`.
    fn inner(&mut self, line: &Line, place: &Place) {
        match bindings(line) {
            Some(bindings) => {
                for (name, _) in bindings {
                    self.names.remove(name);
                    if let Some(setting) = options::setting(name) {
                        let note = "it depends on code, which is not run: write the value that holds by hand";
                        self.remarks.add(place, &line.text, Treatment::Dropped, note);
                        self.settings.undecided(Some(setting), place);
                    }
                }
            }
            None if line.text.starts_with("from ") => self.import(line, place),
            None => self.forget(&line.text),
        }
    }

    /// Names of other files, which are not read.
    fn import(&mut self, line: &Line, place: &Place) {
        let names = line.text.split_once(" import ").map_or("", |(_, names)| names);
        for name in split(names.trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace())) {
            let name = name.rsplit_once(" as ").map_or(name, |(_, name)| name).trim();
            self.names.remove(name);
            let setting = options::setting(name);
            if setting.is_some() || name == "*" || HOOKS.contains(&name) {
                let note = "the other file is not read: put its lines here, and import again";
                self.remarks.once(place, &line.text, Treatment::Dropped, note);
                self.settings.undecided(setting, place);
            }
        }
    }

    /// A line that is not run.
    fn code(&mut self, line: &Line, place: &Place) {
        let text = line.text.as_str();
        let is_header = ["else", "elif ", "except", "finally"].iter().any(|word| text.starts_with(word)) && text.ends_with(':');
        if is_header || text == "pass" || text.starts_with(['"', '\'']) {
            return;
        }
        self.forget(text);
        self.remarks.add(place, text, Treatment::Dropped, "it is code, which is not run");
        if text.starts_with("exec(") {
            return self.settings.undecided(None, place);
        }
        let targets = if ["del ", "globals()", "vars()", "locals()"].iter().any(|word| text.starts_with(word)) {
            text
        } else {
            text.rsplit_once('=').map_or("", |(targets, _)| targets)
        };
        if !text.ends_with(':') {
            for setting in targets.split(is_between).filter_map(options::setting) {
                self.settings.undecided(Some(setting), place);
            }
        }
    }

    /// What code changes is not known any more.
    fn forget(&mut self, text: &str) {
        self.names.retain(|name, _| !text.contains(name.as_str()));
    }
}

/// The names that a line gives values to, each with its expression: `a = 1`, `a = b = 1`, `a, b = 1, 2` and `a += 1`.
fn bindings(line: &Line) -> Option<Vec<(&str, String)>> {
    if let Some((name, value)) = line.assignment() {
        let mut parts = split_at(value, '=');
        let last = parts.pop()?;
        let is_chain = !last.is_empty() && parts.iter().all(|part| is_name(part));
        let names = std::iter::once(name).chain(parts.iter().copied());
        return Some(if is_chain { names.map(|name| (name, last.to_owned())).collect() } else { vec![(name, value.to_owned())] });
    }
    let [targets, value] = split_at(&line.text, '=')[..] else { return None };
    if let Some((name, operator)) =
        ["+", "-", "*", "//"].iter().find_map(|operator| Some((targets.strip_suffix(operator)?.trim(), operator)))
    {
        return is_name(name).then(|| vec![(name, format!("{name} {operator} ({value})"))]);
    }
    let (names, values) = (split(without_brackets(targets)), split(without_brackets(value)));
    let is_pairs = names.len() > 1 && names.len() == values.len() && names.iter().all(|name| is_name(name));
    is_pairs.then(|| names.into_iter().zip(values).map(|(name, value)| (name, value.to_owned())).collect())
}

fn without_brackets(list: &str) -> &str {
    [('(', ')'), ('[', ']')].iter().find_map(|(open, close)| list.strip_prefix(*open)?.strip_suffix(*close)).unwrap_or(list)
}

fn hook(name: &str, place: &Place, remarks: &mut Remarks) {
    let note = match name {
        "child_exit" | "worker_exit" => {
            "hooks are not called. `worker_exit` of the app names a function `(pid, cause)` that is told of each worker that has ended"
        }
        "post_fork" | "post_worker_init" => {
            "hooks are not called: what a worker sets up belongs into the module of the app, which each worker imports"
        }
        "pre_request" | "post_request" => "hooks are not called: a Python layer sees every request",
        "ssl_context" => "hooks are not called: `tls` of the listener names certificates",
        _ => "hooks are not called",
    };
    remarks.add(place, &format!("def {name}"), Treatment::Dropped, note);
}

/// The last line that mentions each name, by its index.
fn last_mentions(lines: &[Line]) -> HashMap<&str, usize> {
    lines.iter().enumerate().flat_map(|(at, line)| line.text.split(is_between).map(move |word| (word, at))).collect()
}

fn is_between(c: char) -> bool {
    c != '_' && !c.is_alphanumeric()
}
