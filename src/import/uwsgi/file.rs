//! A configuration of uWSGI: its options, their placeholders, and variables of the environment.

use std::collections::{HashMap, HashSet};

use super::super::remarks::{Place, Remarks, Treatment};
use super::super::value::{Value, escaped, variable};
use super::options::MOST_OPTIONS;
use super::syntax::{Form, Line};

/// An option with its value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) place: Place,
    /// As it is written.
    pub(super) theirs: String,
    /// Whether a placeholder of the file names it.
    pub(super) is_used: bool,
}

/// Reads a configuration of uWSGI.
pub(super) fn read(form: Form, file: &str, text: &str, remarks: &mut Remarks) -> Result<Vec<Given>, String> {
    let lines = form.lines(file, text, remarks)?;
    let used: HashSet<&str> = text.split("%(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    let mut given: Vec<Given> = Vec::new();
    let mut raw: HashMap<String, String> = HashMap::new();
    let mut is_in_block = false;
    for (at, Line { number, name, value }) in lines.into_iter().enumerate() {
        let place = Place::new(file, number);
        let written = value.as_ref().map_or_else(|| name.clone(), |value| format!("{name} = {value}"));
        if at == MOST_OPTIONS {
            remarks.add(&place, &written, Treatment::Dropped, "nothing is read from here on: the file is too long");
            break;
        }
        match name.as_str() {
            "endif" | "endfor" | "end-if" | "end-for" => {
                is_in_block = false;
                remarks.add(&place, &written, Treatment::Dropped, "the end of the lines that are not decided here");
            }
            begins if begins.starts_with("if-") || begins == "for" || begins.starts_with("for-") => {
                is_in_block = true;
                remarks.add(&place, &written, Treatment::Dropped, "it is decided when uWSGI starts: the lines up to its end are dropped");
            }
            _ if is_in_block => remarks.add(&place, &written, Treatment::Dropped, "it depends on the line above that is not decided here"),
            _ => {
                let plain = without_comment(value.as_deref().unwrap_or("true"));
                let theirs = if name == "env" { format!("env = {}", plain.split('=').next().unwrap_or_default()) } else { written };
                let filled = if value.is_some() { filled(plain, file, &raw) } else { Value::Bool(true) };
                if let Some(text) = filled.text() {
                    raw.insert(name.clone(), text);
                }
                given.push(Given { is_used: used.contains(name.as_str()), name, value: filled, place, theirs });
            }
        }
    }
    Ok(given)
}

/// Numbers and switches end where they do: uWSGI does not read on, so that many files have comments there. Of a text, everything counts.
fn without_comment(value: &str) -> &str {
    let word = value.split_whitespace().next().unwrap_or_default();
    let rest = value[word.len()..].trim_start();
    let ends = word.bytes().all(|octet| octet.is_ascii_digit()) || matches!(word, "true" | "false");
    if ends && rest.starts_with([';', '#']) { word } else { value }
}

/// A value whose placeholders are filled in: `%(name)`, `%d` and others of its kind, `$(NAME)`.
pub(super) fn filled(text: &str, file: &str, known: &HashMap<String, String>) -> Value {
    let code = || Value::Code(text.to_owned());
    if text.starts_with("@(") {
        return code();
    }
    if text == "%k" {
        return Value::Cores;
    }
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        whole.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let inside = after.strip_prefix('(').and_then(|inside| inside.split_once(')'));
        match (&rest[at..=at], inside) {
            ("$", Some((name, _))) => match variable(name, None) {
                Some(reference) => whole.push_str(&reference),
                None => return code(),
            },
            ("%", Some((name, _))) => match known.get(name) {
                Some(value) if whole.len() + value.len() <= 4096 => whole.push_str(value),
                _ => return code(),
            },
            ("%", None) => match after.chars().next().and_then(|letter| of_file(letter, file)) {
                Some(part) => whole.push_str(&escaped(&part)),
                None => return code(),
            },
            _ => whole.push_str("$$"),
        }
        rest = match (inside, &rest[at..=at]) {
            (Some((_, rest)), _) => rest,
            (None, "%") => after.get(1..).unwrap_or_default(),
            (None, _) => after,
        };
    }
    whole.push_str(rest);
    Value::Text(whole)
}

/// What a letter after `%` says of the file: paths are relative to the folder that the pipeline file is written for.
fn of_file(letter: char, file: &str) -> Option<String> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match letter {
        'd' => Some("./".to_owned()),
        'n' => Some(stem.to_owned()),
        's' => Some(name.to_owned()),
        'p' => Some(format!("./{name}")),
        'e' => Some(name.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned()),
        'c' => Some(folder.rsplit('/').next().filter(|folder| !folder.is_empty() && *folder != ".")?.to_owned()),
        '%' => Some("%".to_owned()),
        _ => None,
    }
}
