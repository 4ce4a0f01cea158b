//! Which command of a line starts a server, and what decides whether it is run.

use super::{Word, after_equals, value};
use crate::import::commands::joined;
use crate::import::value::Value;

/// A command that starts a server.
#[derive(Debug, Default)]
pub(in crate::import) struct Call {
    /// Variables that are set for it alone.
    pub(in crate::import) environment: Vec<(String, Value)>,
    /// Words before the server, and other commands of the line.
    pub(in crate::import) around: Vec<String>,
    /// Other commands of the line that start the server.
    pub(in crate::import) others: Vec<String>,
    /// What decides whether the command is run.
    pub(in crate::import) condition: Option<String>,
    pub(in crate::import) arguments: Vec<Word>,
}

/// How deep `sh -c` may be nested.
const DEEPEST: usize = 4;

/// Words that begin a command with another one in it, which is not run as a server.
const TESTS: &[&str] = &["if", "elif", "while", "until", "for", "case", "test", "[", "[[", "!"];

/// Words behind which a server is named, and not started: `pip install gunicorn`.
const NAMING: &[&str] = &["install", "add", "echo", "pkill", "killall", "which", "type", "command"];

/// Commands whose arguments may end in the name of a server: `mkdir /var/log/gunicorn`.
const OTHER_COMMANDS: &[&str] = &[
    "printf",
    "pgrep",
    "kill",
    "hash",
    "cd",
    "pushd",
    "mkdir",
    "touch",
    "rm",
    "cp",
    "mv",
    "ln",
    "ls",
    "cat",
    "tail",
    "grep",
    "sed",
    "chmod",
    "chown",
    "source",
    ".",
    "export",
    "unset",
    "supervisorctl",
    "systemctl",
    "service",
];

/// The blocks that a command is in, by what decides whether it is run: `if`, loops and `case`.
#[derive(Debug, Default)]
pub(in crate::import) struct Blocks(Vec<String>);

impl Blocks {
    /// What decides whether the next command is run.
    pub(in crate::import) fn condition(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Goes past the commands of a line.
    pub(in crate::import) fn pass(&mut self, words: &[Word]) {
        for command in commands(words) {
            self.enter(&command.words);
        }
    }

    fn enter(&mut self, command: &[Word]) {
        let first = command.first().map_or("", |word| word.raw.as_str());
        match first {
            "if" | "for" | "while" | "until" | "select" | "case" if self.0.len() < MOST_BLOCKS => self.0.push(joined(command)),
            "elif" => self.replace(joined(command)),
            "else" => {
                let before = self.0.last().cloned().unwrap_or_default();
                self.replace(format!("else of {before}"));
            }
            "fi" | "done" | "esac" => drop(self.0.pop()),
            pattern if command.len() == 1 && is_pattern(pattern) => {
                let before = self.0.last().map_or("", |block| block.split(" in ").next().unwrap_or_default().trim_end_matches(" in"));
                self.replace(format!("{before} in {pattern}"));
            }
            _ => {}
        }
    }

    fn replace(&mut self, condition: String) {
        if let Some(last) = self.0.last_mut() {
            *last = condition;
        }
    }
}

/// The most blocks within each other that are told apart.
const MOST_BLOCKS: usize = 64;

/// A command of a line.
struct Command {
    words: Vec<Word>,
    /// The operator before it.
    joined_by: String,
}

/// The commands of a line. The words of the grammar that begin and end blocks are commands, too; `then` and `do` are none.
fn commands(words: &[Word]) -> Vec<Command> {
    let mut commands = vec![Command { words: Vec::new(), joined_by: String::new() }];
    for word in words {
        let raw = word.raw.as_str();
        let begin = |commands: &mut Vec<Command>, joined_by: &str| {
            if commands.last().is_none_or(|last| !last.words.is_empty()) {
                commands.push(Command { words: Vec::new(), joined_by: joined_by.to_owned() });
            } else if let Some(last) = commands.last_mut() {
                last.joined_by = joined_by.to_owned();
            }
        };
        match raw {
            "&&" | "||" | ";" | ";;" | "|" | "&" | "then" | "do" => {
                begin(&mut commands, raw);
                continue;
            }
            "else" | "elif" | "fi" | "done" | "esac" => begin(&mut commands, ";"),
            _ => {}
        }
        let bare = raw.trim_end_matches(';');
        let Some(last) = commands.last_mut() else { continue };
        let is_first = last.words.is_empty();
        let is_case = last.words.first().is_some_and(|first| first.raw == "case");
        last.words.push(if bare.len() == raw.len() { word.clone() } else { without_semicolons(word) });
        if bare.len() < raw.len() || bare == "else" || (is_first && is_pattern(bare)) || (is_case && bare == "in") {
            begin(&mut commands, ";");
        }
    }
    commands.retain(|command| !command.words.is_empty());
    commands
}

/// Whether a word is a pattern of `case`.
fn is_pattern(word: &str) -> bool {
    word.ends_with(')') && !word.contains('(')
}

fn without_semicolons(word: &Word) -> Word {
    let raw = word.raw.trim_end_matches(';').to_owned();
    let value = match &word.value {
        Value::Text(text) => Value::Text(text.trim_end_matches(';').to_owned()),
        _ => value(&raw, &[]).value,
    };
    Word { raw, value }
}

/// The command that starts `server`: the first one that is always run, or else the first.
pub(in crate::import) fn call(words: &[Word], server: &str) -> Option<Call> {
    nested(words, server, 0)
}

fn nested(words: &[Word], server: &str, depth: usize) -> Option<Call> {
    let mut blocks = Blocks::default();
    let mut calls: Vec<(Call, String)> = Vec::new();
    let mut around = Vec::new();
    // A test decides about the commands behind it, up to a semicolon.
    let mut test: Option<String> = None;
    for Command { words, joined_by } in commands(words) {
        blocks.enter(&words);
        let first = words[0].raw.as_str();
        if joined_by != "&&" && joined_by != "||" {
            test = None;
        }
        let decides = test.as_ref().map(|test| format!("{test} {joined_by}"));
        if TESTS.contains(&first) {
            test = Some(joined(&words));
        }
        match simple(&words, server, depth) {
            Some(call) => {
                let condition = call.condition.or(decides).or_else(|| blocks.condition().map(str::to_owned));
                calls.push((Call { condition, ..call }, joined(&words)));
            }
            None if matches!(first, "else" | "fi" | "done" | "esac") || (words.len() == 1 && is_pattern(first)) => {}
            None => around.push(joined(&words)),
        }
    }
    let chosen = calls.iter().position(|(call, _)| call.condition.is_none()).unwrap_or(0);
    let mut found = None;
    let mut others = Vec::new();
    for (at, (call, written)) in calls.into_iter().enumerate() {
        if at == chosen { found = Some(call) } else { others.push(written) }
    }
    let mut call = found?;
    call.around.extend(around);
    call.others.extend(others);
    Some(call)
}

fn simple(words: &[Word], server: &str, depth: usize) -> Option<Call> {
    let first = words.iter().position(|word| !word.is_assignment()).unwrap_or(words.len());
    let name = |word: &Word| word.raw.rsplit('/').next().unwrap_or_default().to_owned();
    let is_shell = words.iter().skip(first).position(|word| matches!(name(word).as_str(), "sh" | "bash" | "dash" | "ash"));
    if let Some(shell) = is_shell.map(|at| first + at).filter(|_| depth < DEEPEST)
        && let Some(flag) =
            words[shell..].iter().position(|word| word.raw.starts_with('-') && !word.raw.starts_with("--") && word.raw.ends_with('c'))
        && let Some(script) = words.get(shell + flag + 1)
        && let Some(call) = super::words(&script.raw).ok().and_then(|words| nested(&words, server, depth + 1))
    {
        return Some(call);
    }
    let is_python = |word: &Word| name(word).starts_with("python") || name(word).starts_with("pypy");
    let at = words.iter().enumerate().position(|(at, word)| {
        // `python -m gunicorn.app.wsgiapp` starts it, too.
        let is_module =
            at > 0 && words[at - 1].raw == "-m" && word.raw.split('.').next() == Some(server) && words[..at].iter().any(is_python);
        is_module || name(word) == server
    })?;
    let before = &words[..at];
    let command = words.iter().find(|word| !word.is_assignment() && !matches!(word.raw.as_str(), "sudo" | "exec" | "env")).map(name);
    if TESTS.contains(&words[0].raw.as_str())
        || command.is_some_and(|command| OTHER_COMMANDS.contains(&command.as_str()))
        || before.iter().any(|word| NAMING.contains(&word.raw.as_str()))
    {
        return None;
    }
    let (assignments, wrappers): (Vec<&Word>, Vec<&Word>) = before.iter().partition(|word| word.is_assignment());
    let environment =
        assignments.iter().filter_map(|word| word.raw.split_once('=').map(|(name, _)| (name.to_owned(), after_equals(word)))).collect();
    let interpreter = wrappers.iter().position(|word| is_python(word)).filter(|_| wrappers.last().is_some_and(|word| word.raw == "-m"));
    let wrappers: Vec<&str> = wrappers[..interpreter.unwrap_or(wrappers.len())]
        .iter()
        .map(|word| word.raw.as_str())
        .filter(|word| !matches!(*word, "exec" | "env" | "/usr/bin/env" | "/bin/env"))
        .collect();
    let around = if wrappers.is_empty() { Vec::new() } else { vec![wrappers.join(" ")] };
    let redirect = |word: &Word| word.raw.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['>', '<']);
    let arguments: Vec<Word> =
        words[at + 1..].iter().take_while(|word| !redirect(word)).filter(|word| !is_rest(&word.raw)).cloned().collect();
    Some(Call { environment, around, arguments, ..Call::default() })
}

/// `"$@"`: the arguments of the script, which are not known.
fn is_rest(word: &str) -> bool {
    matches!(word, "$@" | "$*" | "${@}")
}
