//! What the files and the command line give, and which of it counts.

use super::super::commands::Variable;
use super::super::remarks::{Place, Remarks, Treatment};
use super::super::shell::Word;
use super::super::value::Value;
use super::options::{self, Takes};

/// Where a setting comes from; later ones count before earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    File,
    /// `GUNICORN_CMD_ARGS`.
    Variable,
    CommandLine,
}

/// A setting with its value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) setting: &'static str,
    pub(super) value: Value,
    pub(super) place: Place,
    /// As it is written.
    pub(super) theirs: String,
    rank: Rank,
}

/// All settings, in the order in which they are read.
#[derive(Debug, Default)]
pub(super) struct GunicornSettings {
    given: Vec<Given>,
    /// Where code may change a setting, or any of them.
    undecided: Vec<(Option<&'static str>, Place)>,
}

impl GunicornSettings {
    pub(super) fn give(&mut self, setting: &'static str, value: Value, place: &Place, theirs: &str, rank: Rank) {
        self.given.push(Given { setting, value, place: place.clone(), theirs: theirs.to_owned(), rank });
    }

    /// Notes code that may change a setting, or any of them.
    pub(super) fn undecided(&mut self, setting: Option<&'static str>, place: &Place) {
        self.undecided.push((setting, place.clone()));
    }

    /// The code that may change a setting: anywhere, or below the place where the file gives it.
    pub(super) fn changed_by(&self, setting: &str, given: Option<&Given>) -> Option<&Place> {
        if given.is_some_and(|given| given.rank > Rank::File) {
            return None;
        }
        let is_later = |place: &Place| given.is_none_or(|given| given.place.file != place.file || given.place.line < place.line);
        let mut changes = self.undecided.iter().filter(|(known, _)| known.is_none_or(|known| known == setting));
        changes.find(|(_, place)| is_later(place)).map(|(_, place)| place)
    }

    /// Takes out the one of this name that counts.
    pub(super) fn take(&mut self, setting: &str) -> Option<Given> {
        let at = self.given.iter().rposition(|given| given.setting == setting)?;
        Some(self.given.remove(at))
    }

    pub(super) fn get(&self, setting: &str) -> Option<&Value> {
        self.given.iter().rfind(|given| given.setting == setting).map(|given| &given.value)
    }

    /// What nothing has taken.
    pub(super) fn rest(&mut self) -> Vec<Given> {
        std::mem::take(&mut self.given)
    }

    /// Reads the arguments of a command line. Variables that stand for themselves and are set in the same file are read as the words that they hold.
    pub(super) fn arguments(&mut self, place: &Place, words: &[Word], variables: &[Variable], rank: Rank, remarks: &mut Remarks) {
        let words = spliced(place, words, variables, remarks);
        let mut words = words.iter().peekable();
        let mut apps: Vec<&Word> = Vec::new();
        while let Some(word) = words.next() {
            if !word.raw.starts_with('-') || word.raw == "-" {
                apps.push(word);
                continue;
            }
            let (flag, attached) = flag(word);
            match options::option(flag) {
                Some((setting, Takes::Nothing)) => {
                    let value = Value::Bool(setting != "sendfile");
                    self.give(setting, value, place, &word.raw, rank);
                }
                // `--proxy-protocol` alone means `auto`.
                Some((setting @ "proxy_protocol", _)) if attached.is_none() && words.peek().is_none_or(|next| !is_mode(&next.raw)) => {
                    self.give(setting, Value::Bool(true), place, &word.raw, rank);
                }
                Some((setting, takes)) => {
                    let (value, theirs) = match attached {
                        Some(value) => (value, word.raw.clone()),
                        None => match words.next_if(|next| !is_flag(&next.raw)) {
                            Some(next) => (next.value.clone(), format!("{} {}", word.raw, next.raw)),
                            None => {
                                remarks.add(place, &word.raw, Treatment::Dropped, "its value is missing");
                                continue;
                            }
                        },
                    };
                    let theirs = if setting == "raw_env" { without_value(&theirs) } else { theirs };
                    let value = if takes == Takes::Values { Value::List(vec![value]) } else { value };
                    self.give(setting, value, place, &theirs, rank);
                }
                None => {
                    let close = options::suggestion(flag, options::OPTIONS.iter().flat_map(|(_, flags, _)| flags.iter().copied()));
                    // Its value is not an app.
                    let takes_value = close.and_then(options::option).is_some_and(|(_, takes)| takes != Takes::Nothing);
                    if takes_value && !word.raw.contains('=') {
                        words.next_if(|next| !is_flag(&next.raw));
                    }
                    let hint = close.map_or(String::new(), |known| format!(": did you mean `{known}`?"));
                    remarks.add(place, &word.raw, Treatment::Dropped, format!("gunicorn has no such option{hint}"));
                }
            }
        }
        self.app(place, &apps, rank, remarks);
    }

    /// The app is the first word that is no option. A variable beside it holds options, or nothing.
    fn app(&mut self, place: &Place, words: &[&Word], rank: Rank, remarks: &mut Remarks) {
        let (variables, plain): (Vec<&Word>, Vec<&Word>) = words.iter().copied().partition(|word| word.is_variable());
        let (app, rest) = match (&plain[..], &variables[..]) {
            ([app, rest @ ..], _) => (Some(app), rest),
            ([], [app]) => (Some(app), &[][..]),
            ([], _) => (None, &[][..]),
        };
        if let Some(app) = app {
            self.give("wsgi_app", app.value.clone(), place, &app.raw, rank);
        }
        for word in rest {
            remarks.add(place, &word.raw, Treatment::Dropped, "it does not count: gunicorn takes the first app that is named");
        }
        for word in variables.iter().filter(|word| app.is_none_or(|app| app != *word)) {
            remarks.add(
                place,
                &word.raw,
                Treatment::Dropped,
                "what the variable holds is not known: write the options that it has by hand",
            );
        }
    }

    /// Keeps of each setting the one that counts. Repeated options of one command line are one list.
    pub(super) fn settle(&mut self, remarks: &mut Remarks) {
        let mut settled: Vec<Given> = Vec::new();
        let mut all = std::mem::take(&mut self.given);
        all.sort_by_key(|given| given.rank);
        for given in all {
            match settled.iter_mut().find(|known| known.setting == given.setting) {
                Some(known) if known.rank == given.rank && given.rank > Rank::File && matches!(known.value, Value::List(_)) => {
                    let (Value::List(items), Value::List(more)) = (&mut known.value, given.value) else { continue };
                    items.extend(more);
                    known.theirs = format!("{} {}", known.theirs, given.theirs);
                }
                Some(known) => {
                    remarks.add(
                        &known.place,
                        &known.theirs,
                        Treatment::Dropped,
                        format!("it does not count: {} says `{}`", given.place, given.theirs),
                    );
                    *known = given;
                }
                None => settled.push(given),
            }
        }
        self.given = settled;
    }
}

/// The words with those of variables by themselves that the file sets. The value of an option is no such variable.
fn spliced(place: &Place, words: &[Word], variables: &[Variable], remarks: &mut Remarks) -> Vec<Word> {
    let mut all: Vec<Word> = Vec::new();
    let mut is_value = false;
    for word in words {
        let held = if is_value || !word.is_variable() { None } else { word.held(variables) };
        is_value =
            is_flag(&word.raw) && flag(word).1.is_none() && options::option(&word.raw).is_some_and(|(_, takes)| takes != Takes::Nothing);
        match held {
            Some(held) => {
                remarks.add(place, &word.raw, Treatment::Taken, "the words that the file gives the variable stand in its place");
                all.extend(held);
            }
            None => all.push(word.clone()),
        }
    }
    all
}

fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word.parse::<i64>().is_err()
}

fn is_mode(word: &str) -> bool {
    matches!(word, "off" | "v1" | "v2" | "auto")
}

/// `--name=value`, `-wVALUE`, or a flag alone.
fn flag(word: &Word) -> (&str, Option<Value>) {
    let after = |length: usize| match &word.value {
        Value::Text(text) => text.get(length..).map_or(Value::None, |text| Value::Text(text.to_owned())),
        other => other.clone(),
    };
    if word.raw.starts_with("--") {
        return match word.raw.split_once('=') {
            Some((flag, _)) => (flag, Some(after(flag.len() + 1))),
            None => (&word.raw, None),
        };
    }
    match word.raw.char_indices().nth(2) {
        Some((end, _)) if options::option(&word.raw[..end]).is_some_and(|(_, takes)| takes != Takes::Nothing) => {
            let value = if word.raw[end..].starts_with('=') { end + 1 } else { end };
            (&word.raw[..end], Some(after(value)))
        }
        _ => (&word.raw, None),
    }
}

/// The values of variables may be secrets.
fn without_value(theirs: &str) -> String {
    let name_at = theirs.find([' ', '=']).map_or(0, |at| at + 1);
    theirs[name_at..].find('=').map_or_else(|| theirs.to_owned(), |at| theirs[..name_at + at].to_owned())
}
