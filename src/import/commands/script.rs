//! A shell script: its commands, and the variables that it sets.

use std::collections::HashMap;

use super::lines::{Syntax, logical_lines};
use super::{Found, NOT_CLOSED, joined};
use crate::import::remarks::{Place, Treatment};
use crate::import::shell::{self, Blocks, Word};
use crate::import::value::Value;

pub(super) fn read(name: &str, text: &str) -> Found {
    let mut found = Found::default();
    let mut blocks = Blocks::default();
    // Variables that only the script has.
    let mut own: HashMap<String, String> = HashMap::new();
    for (at, line) in logical_lines(text, &Syntax::SHELL) {
        let place = Place::new(name, at);
        if let Some(variables) = line.strip_prefix("export ") {
            found.variables(&place, variables);
            continue;
        }
        let assigned = ["readonly ", "local ", "declare "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(&line);
        let Ok(words) = shell::words(assigned) else {
            found.remarks.add(&place, &line, Treatment::Dropped, NOT_CLOSED);
            continue;
        };
        let words: Vec<Word> = words.iter().map(|word| word.filled(&own)).collect();
        if words.iter().all(Word::is_assignment) {
            assign(&words, blocks.condition(), &place, &mut own, &mut found);
            continue;
        }
        let condition = blocks.condition().map(str::to_owned);
        blocks.pass(&words);
        found.lines.push(super::CommandLine { place, words, condition });
    }
    found
}

/// Variables that stand in place of their names below. What only one branch sets is not known.
fn assign(words: &[Word], condition: Option<&str>, place: &Place, own: &mut HashMap<String, String>, found: &mut Found) {
    for word in words {
        let Some((name, _)) = word.raw.split_once('=') else { continue };
        let is_exported = found.environment.iter().any(|(_, known, _)| known == name);
        match shell::after_equals(word) {
            Value::Text(text) if condition.is_none() && !is_exported => {
                own.insert(name.to_owned(), text);
                found.remarks.add(
                    place,
                    &format!("{name}=..."),
                    Treatment::Taken,
                    "a variable of the script: its value stands where it is used",
                );
            }
            _ => {
                own.remove(name);
                found.remarks.add(place, &joined(words), Treatment::Dropped, "its value is not known before it runs: it stays where it is");
            }
        }
    }
}
