//! A Dockerfile: `ENTRYPOINT`, `CMD` and `ENV` of its last stage, and of the stages that it is made from.

use super::lines::{Syntax, logical_lines};
use super::{CommandLine, Found};
use crate::import::remarks::{Place, Treatment};
use crate::import::shell::literals;

/// An instruction, by its line.
#[derive(Clone)]
struct Instruction {
    place: Place,
    text: String,
}

/// What a stage leaves to those that are made from it.
#[derive(Clone, Default)]
struct Stage {
    name: String,
    entry: Option<Instruction>,
    command: Option<Instruction>,
    /// Whether `command` is that of the stage below.
    is_inherited: bool,
    variables: Vec<Instruction>,
}

pub(super) fn read(name: &str, text: &str) -> Found {
    let mut found = Found::default();
    let mut stages: Vec<Stage> = Vec::new();
    let mut stage = Stage::default();
    let mut all: Vec<Instruction> = Vec::new();
    for (at, line) in logical_lines(text, &Syntax { goes_on: escape(text), ..Syntax::SHELL }) {
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let instruction = Instruction { place: Place::new(name, at), text: rest.trim().to_owned() };
        match keyword.to_ascii_uppercase().as_str() {
            "FROM" => {
                found.remarks.add(&instruction.place, &line, Treatment::Dropped, "it stays in the Dockerfile");
                let next = based(rest, &stages);
                stages.push(std::mem::replace(&mut stage, next));
                continue;
            }
            "ENTRYPOINT" => {
                stage.entry = Some(instruction.clone());
                if stage.is_inherited {
                    stage.command = None;
                }
            }
            "CMD" => {
                stage.command = Some(instruction.clone());
                stage.is_inherited = false;
            }
            "ENV" => stage.variables.push(instruction.clone()),
            _ => {
                found.remarks.add(&instruction.place, &line, Treatment::Dropped, "it stays in the Dockerfile");
                continue;
            }
        }
        all.push(instruction);
    }
    for instruction in all {
        let mut counting = stage.entry.iter().chain(&stage.command).chain(&stage.variables);
        if !counting.any(|counts| counts.place == instruction.place) {
            let note = "it does not count: a line below it begins another stage, or replaces it";
            found.remarks.add(&instruction.place, &instruction.text, Treatment::Dropped, note);
        }
    }
    for Instruction { place, text } in &stage.variables {
        found.variables(place, text);
    }
    found.commands(stage.entry, stage.command);
    found
}

/// The character of the directive `# escape=`, which stands above everything else.
fn escape(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    let escape =
        directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("escape")).find_map(|(_, value)| value.trim().chars().next());
    escape.filter(|escape| *escape == '`').unwrap_or('\\')
}

/// The stage that `FROM base AS name` begins.
fn based(from: &str, stages: &[Stage]) -> Stage {
    let words: Vec<&str> = from.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let base = words.first().copied().unwrap_or_default();
    let name = match words[..] {
        [_, by, name] if by.eq_ignore_ascii_case("as") => name.to_ascii_lowercase(),
        _ => String::new(),
    };
    let below = stages.iter().rfind(|stage| !stage.name.is_empty() && stage.name.eq_ignore_ascii_case(base)).cloned().unwrap_or_default();
    Stage { name, is_inherited: below.command.is_some(), ..below }
}

impl Found {
    /// `ENTRYPOINT` and `CMD`, joined as Docker joins them.
    fn commands(&mut self, entry: Option<Instruction>, command: Option<Instruction>) {
        let list = |instruction: &Instruction| serde_json::from_str::<Vec<String>>(&instruction.text).ok().map(|words| literals(&words));
        match (entry, command) {
            // A list is followed by the words of the other one.
            (Some(entry), Some(command)) if list(&entry).is_some() && list(&command).is_some() => {
                self.remarks.add(&command.place, &command.text, Treatment::Taken, "further words of the command of `ENTRYPOINT`");
                let words = [list(&entry), list(&command)].into_iter().flatten().flatten().collect();
                self.lines.push(CommandLine { place: entry.place, words, condition: None });
            }
            (entry, command) => {
                for instruction in [entry, command].into_iter().flatten() {
                    match list(&instruction) {
                        Some(words) => self.lines.push(CommandLine { place: instruction.place, words, condition: None }),
                        None => self.line(instruction.place, &instruction.text, &instruction.text),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::joined;
    use super::*;

    #[test]
    fn the_directive_says_how_lines_go_on() {
        let text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nCOPY <<EOF /start\nCMD gunicorn no:app\nEOF\nCMD gunicorn `\n  # two\n  -w 2 `\n  a:b\n";
        let found = read("Dockerfile", text);
        let lines: Vec<_> = found.lines.iter().map(|line| (line.place.line, joined(&line.words))).collect();
        assert_eq!(lines, [(7, "gunicorn -w 2 a:b".to_owned())]);
    }
}
