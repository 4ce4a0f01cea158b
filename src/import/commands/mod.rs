//! Command lines in the files that start a server: Procfile, Dockerfile, systemd unit, shell script.

mod dockerfile;
mod lines;
mod script;
mod unit;

use super::NotImported;
use super::remarks::{Place, Remarks, Treatment};
use super::shell::{self, Call, Word};
use super::value::Value;
use lines::{Syntax, logical_lines};

/// A command line, split into words.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) place: Place,
    pub(super) words: Vec<Word>,
    /// What decides in the lines around it whether it is run.
    pub(super) condition: Option<String>,
}

impl CommandLine {
    /// A line that a shell runs.
    pub(super) fn shell(place: Place, line: &str) -> Result<Self, String> {
        match shell::words(line) {
            Ok(words) => Ok(Self { place, words, condition: None }),
            Err(error) => Err(format!("{place}: {error}")),
        }
    }
}

/// A variable that a file sets, and where.
pub(super) type Variable = (Place, String, Value);

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The lines that may start a server, the likeliest first.
    pub(super) lines: Vec<CommandLine>,
    /// Variables that the file sets.
    pub(super) environment: Vec<Variable>,
    /// Where the file says that systemd passes sockets.
    pub(super) sockets: Option<Place>,
    pub(super) remarks: Remarks,
}

/// The command that becomes the pipeline.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) place: Place,
    pub(super) call: Call,
    /// Variables that the file sets.
    pub(super) environment: Vec<Variable>,
    /// Where the file says that systemd passes sockets.
    pub(super) sockets: Option<Place>,
    pub(super) remarks: Remarks,
}

impl Found {
    /// The first command that starts a program, which people know as `name`, and rather one that is always run. The others stay where they are.
    pub(super) fn start(self, program: &str, name: &str) -> Result<Start, NotImported> {
        let Self { lines, environment, sockets, mut remarks } = self;
        let calls: Vec<(CommandLine, Option<Call>)> = lines
            .into_iter()
            .map(|line| {
                let call = shell::call(&line.words, program).map(|call| {
                    let condition = line.condition.clone().or(call.condition);
                    Call { condition, ..call }
                });
                (line, call)
            })
            .collect();
        let is_start = |wanted: fn(&Call) -> bool| calls.iter().position(|(_, call)| call.as_ref().is_some_and(wanted));
        let chosen = is_start(|call| call.condition.is_none()).or_else(|| is_start(|_| true));
        let another = "one command becomes the pipeline, and this is another one: import it by itself";
        let mut first: Option<(Place, Call)> = None;
        for (at, (line, call)) in calls.into_iter().enumerate() {
            let written = joined(&line.words);
            match call {
                Some(call) if chosen == Some(at) => first = Some((line.place, call)),
                Some(_) => remarks.add(&line.place, &written, Treatment::Dropped, another),
                None => remarks.add(&line.place, &written, Treatment::Dropped, format!("it does not start {name}: it stays where it is")),
            }
        }
        let Some((place, call)) = first else {
            let hint = "name the file with it, or give it with `--command 'gunicorn ...'`";
            return Err(NotImported(format!("there is no command line of gunicorn, uWSGI or pserve\nhint: {hint}")));
        };
        if let Some(condition) = &call.condition {
            let note = format!("it decides whether {name} is run: the pipeline file is for the case that it is");
            remarks.add(&place, condition, Treatment::Approximated, note);
        }
        for around in &call.around {
            let note = format!("it is run beside the server: keep it, with `ziggurat run` in place of {name}");
            remarks.add(&place, around, Treatment::Dropped, note);
        }
        for other in &call.others {
            remarks.add(&place, other, Treatment::Dropped, another);
        }
        Ok(Start { place, call, environment, sockets, remarks })
    }
}

/// The command lines of a file, by its name.
pub(super) fn of_file(name: &str, text: &str) -> Result<Found, NotImported> {
    let base = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let is = |prefix: &str, suffix: &str| base.starts_with(prefix) || base.ends_with(suffix);
    if is("procfile", ".procfile") {
        Ok(procfile(name, &logical_lines(text, &Syntax::SHELL)))
    } else if is("dockerfile", ".dockerfile") || is("containerfile", ".containerfile") {
        Ok(dockerfile::read(name, text))
    } else if base.ends_with(".service") {
        Ok(unit::read(name, text))
    } else if base.ends_with(".sh") || text.starts_with("#!") {
        Ok(script::read(name, text))
    } else {
        Err(NotImported(format!(
            "`{name}` is no configuration that is known by its name\nhint: known are `*.json` of NGINX Unit, `*.py` of gunicorn, files of uWSGI with a section `uwsgi`, files of Paste Deploy with a section `[app:...]` or `[pipeline:...]`, `Procfile`, `Dockerfile`, `*.service` and `*.sh`; a command line is given with `--command`"
        )))
    }
}

/// `name: command`; `web` is the one that platforms send requests to.
fn procfile(name: &str, lines: &[(usize, String)]) -> Found {
    let mut found = Found::default();
    let mut processes: Vec<(&str, &str, usize)> = Vec::new();
    for (at, line) in lines {
        match line.split_once(':') {
            Some((process, command)) => processes.push((process.trim(), command.trim(), *at)),
            None => found.remarks.add(&Place::new(name, *at), line, Treatment::Dropped, "it is no `process: command`"),
        }
    }
    processes.sort_by_key(|(process, ..)| *process != "web");
    for (process, command, at) in processes {
        found.line(Place::new(name, at), command, &format!("{process}: {command}"));
    }
    found
}

impl Found {
    fn line(&mut self, place: Place, command: &str, theirs: &str) {
        match CommandLine::shell(place.clone(), command) {
            Ok(line) => self.lines.push(line),
            Err(_) => self.remarks.add(&place, theirs, Treatment::Dropped, NOT_CLOSED),
        }
    }

    /// `NAME=value NAME=value`, or `NAME value`.
    fn variables(&mut self, place: &Place, text: &str) {
        let Ok(words) = shell::words(text) else {
            return self.remarks.add(place, text, Treatment::Dropped, NOT_CLOSED);
        };
        if let [name, rest @ ..] = &words[..]
            && !name.raw.contains('=')
            && !rest.is_empty()
        {
            let value: Vec<&str> = rest.iter().map(|word| word.raw.as_str()).collect();
            self.environment.push((place.clone(), name.raw.clone(), Value::plain(&value.join(" "))));
            return;
        }
        for word in words {
            if let Some((name, _)) = word.raw.split_once('=') {
                self.environment.push((place.clone(), name.to_owned(), shell::after_equals(&word)));
            }
        }
    }
}

const NOT_CLOSED: &str = "it cannot be read: a quote is not closed";

/// Words as they are written.
pub(super) fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.raw.as_str()).collect::<Vec<_>>().join(" ")
}
