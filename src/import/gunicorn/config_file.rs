//! `gunicorn.conf.py`: the settings that it assigns at its top. It is Python, and is not run.

use std::collections::HashMap;

use super::super::python::{Names, evaluate};
use super::super::remarks::{Place, Remarks, Treatment};
use super::super::value::Value;
use super::options::{self, HOOKS};
use super::settings::{GunicornSettings, Rank};
use crate::detect::python::{Line, logical_lines};

/// The most statements that are read.
const MOST_LINES: usize = 2_000;

/// Reads the assignments of a file.
pub(super) fn read(file: &str, text: &str, settings: &mut GunicornSettings, remarks: &mut Remarks) {
    let mut lines = logical_lines(text);
    if let Some(line) = lines.get(MOST_LINES) {
        remarks.add(&Place::new(file, line.number), &line.text, Treatment::Dropped, "nothing is read from here on: the file is too long");
    }
    lines.truncate(MOST_LINES);
    let mentioned = last_mentions(&lines);
    let mut names = Names::new();
    // Whether lines below are those of a function or a class.
    let mut is_body = false;
    for (at, line) in lines.iter().enumerate() {
        let place = Place::new(file, line.number);
        if line.indent > 0 {
            inner(line, is_body, &place, &mut names, remarks);
            continue;
        }
        is_body = ["def ", "class ", "async def ", "@"].iter().any(|word| line.text.starts_with(word));
        if let Some((name, _)) = line.function() {
            if HOOKS.contains(&name) {
                hook(name, &place, remarks);
            } else {
                remarks.add(&place, &line.text, Treatment::Dropped, "functions of the file are not called");
            }
            continue;
        }
        let Some((name, expression)) = line.assignment() else {
            let is_silent = ["import ", "from ", "\"", "'", "pass", "else", "elif ", "except", "finally"]
                .iter()
                .any(|word| line.text.starts_with(word));
            if !is_silent {
                // What code changes is not known any more.
                names.retain(|name, _| !line.text.contains(name.as_str()));
                remarks.add(&place, &line.text, Treatment::Dropped, "it is code, which is not run");
            }
            continue;
        };
        let value = evaluate(expression, &names);
        if HOOKS.contains(&name) {
            hook(name, &place, remarks);
        } else if let Some(setting) = options::setting(name) {
            let theirs = if setting == "raw_env" { format!("{name} = ...") } else { line.text.clone() };
            settings.give(setting, value.clone(), &place, &theirs, Rank::File);
        } else if mentioned.get(name).is_some_and(|last| *last > at) {
            let (treatment, note) = match &value {
                Value::Code(_) => (Treatment::Dropped, "it is code, which is not run: what uses the name is not known"),
                _ => (Treatment::Taken, "a name of the file: its value stands where it is used"),
            };
            remarks.add(&place, &format!("{name} = ..."), treatment, note);
        } else {
            let hint = options::suggestion(name, options::names()).map_or(String::new(), |known| format!(": did you mean `{known}`?"));
            remarks.add(&place, &line.text, Treatment::Dropped, format!("gunicorn has no such setting, and ignores it{hint}"));
        }
        match value {
            Value::Code(_) => drop(names.remove(name)),
            value => drop(names.insert(name.to_owned(), value)),
        }
    }
}

/// A line below another one: of a function, or of an `if`, `for`, `try` or `with`.
fn inner(line: &Line, is_body: bool, place: &Place, names: &mut Names, remarks: &mut Remarks) {
    if is_body {
        return;
    }
    if let Some((name, _)) = line.assignment() {
        names.remove(name);
        if options::names().any(|known| known == name) {
            remarks.add(place, &line.text, Treatment::Dropped, "it depends on code, which is not run: write the value that holds by hand");
        }
    }
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
    let is_between = |c: char| c != '_' && !c.is_alphanumeric();
    lines.iter().enumerate().flat_map(|(at, line)| line.text.split(is_between).map(move |word| (word, at))).collect()
}
