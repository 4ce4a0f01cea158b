//! Command lines in the files that start a server: Procfile, Dockerfile, systemd unit, shell script.

use super::NotImported;
use super::remarks::{Place, Remarks, Treatment};
use super::shell::{self, Call, Word, literals, of_unit};
use super::value::Value;

/// A command line, split into words.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) place: Place,
    pub(super) words: Vec<Word>,
}

impl CommandLine {
    /// A line that a shell runs.
    pub(super) fn shell(place: Place, line: &str) -> Result<Self, String> {
        match shell::words(line) {
            Ok(words) => Ok(Self { place, words }),
            Err(error) => Err(format!("{place}: {error}")),
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The lines that may start a server, the likeliest first.
    pub(super) lines: Vec<CommandLine>,
    /// Variables that the file sets.
    pub(super) environment: Vec<(Place, String, Value)>,
    pub(super) remarks: Remarks,
}

/// The command that becomes the pipeline.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) place: Place,
    pub(super) call: Call,
    /// Variables that the file sets.
    pub(super) environment: Vec<(Place, String, Value)>,
    pub(super) remarks: Remarks,
}

impl Found {
    /// The first command that starts a program, which people know as `name`. The others stay where they are.
    pub(super) fn start(self, program: &str, name: &str) -> Result<Start, NotImported> {
        let Self { lines, environment, mut remarks } = self;
        let mut first: Option<(Place, Call)> = None;
        for line in lines {
            let written = line.words.iter().map(|word| word.raw.as_str()).collect::<Vec<_>>().join(" ");
            match shell::call(&line.words, program) {
                Some(call) if first.is_none() => first = Some((line.place, call)),
                Some(_) => {
                    let note = "one command becomes the pipeline, and this is another one: import it by itself";
                    remarks.add(&line.place, &written, Treatment::Dropped, note);
                }
                None => remarks.add(&line.place, &written, Treatment::Dropped, format!("it does not start {name}: it stays where it is")),
            }
        }
        let Some((place, call)) = first else {
            let hint = "name the file with it, or give it with `--command 'gunicorn ...'`";
            return Err(NotImported(format!("there is no command line of gunicorn, uWSGI or pserve\nhint: {hint}")));
        };
        for around in &call.around {
            let note = format!("it is run beside the server: keep it, with `ziggurat run` in place of {name}");
            remarks.add(&place, around, Treatment::Dropped, note);
        }
        Ok(Start { place, call, environment, remarks })
    }
}

/// The command lines of a file, by its name.
pub(super) fn of_file(name: &str, text: &str) -> Result<Found, NotImported> {
    let base = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let lines = logical_lines(text);
    let is = |prefix: &str, suffix: &str| base.starts_with(prefix) || base.ends_with(suffix);
    if is("procfile", ".procfile") {
        Ok(procfile(name, &lines))
    } else if is("dockerfile", ".dockerfile") || is("containerfile", ".containerfile") {
        Ok(dockerfile(name, &lines))
    } else if base.ends_with(".service") {
        Ok(unit(name, &lines))
    } else if base.ends_with(".sh") || text.starts_with("#!") {
        Ok(script(name, &lines))
    } else {
        Err(NotImported(format!(
            "`{name}` is no configuration that is known by its name\nhint: known are `*.json` of NGINX Unit, `*.py` of gunicorn, files of uWSGI with a section `uwsgi`, files of Paste Deploy with a section `[app:...]` or `[pipeline:...]`, `Procfile`, `Dockerfile`, `*.service` and `*.sh`; a command line is given with `--command`"
        )))
    }
}

/// Lines with their continuations, each with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        if is_comment && (continues || at > 0) {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| continues) {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(part.trim());
            }
            None => lines.push((at + 1, part.trim().to_owned())),
        }
        continues = goes_on;
    }
    lines.retain(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
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

/// The last `CMD` and `ENTRYPOINT`, joined as Docker joins them, and `ENV`.
fn dockerfile(name: &str, lines: &[(usize, String)]) -> Found {
    let mut found = Found::default();
    let mut parts: [Option<(Place, String)>; 2] = Default::default();
    for (at, line) in lines {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let place = Place::new(name, *at);
        let replaced = match instruction.to_ascii_uppercase().as_str() {
            "FROM" => {
                found.remarks.add(&place, line, Treatment::Dropped, "it stays in the Dockerfile");
                std::mem::take(&mut parts)
            }
            "ENTRYPOINT" => [parts[0].replace((place, rest.trim().to_owned())), None],
            "CMD" => [parts[1].replace((place, rest.trim().to_owned())), None],
            "ENV" => {
                found.variables(&place, rest);
                continue;
            }
            _ => {
                found.remarks.add(&place, line, Treatment::Dropped, "it stays in the Dockerfile");
                continue;
            }
        };
        for (earlier, text) in replaced.into_iter().flatten() {
            found.remarks.add(
                &earlier,
                &text,
                Treatment::Dropped,
                format!("it does not count: line {at} begins another stage, or replaces it"),
            );
        }
    }
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).ok().map(|words| literals(&words));
    let [entry, command] = parts;
    match (entry, command) {
        // A list is followed by the words of the other one.
        (Some((place, entry)), Some((further, command))) if list(&entry).is_some() && list(&command).is_some() => {
            found.remarks.add(&further, &command, Treatment::Taken, "further words of the command of `ENTRYPOINT`");
            let words = [list(&entry), list(&command)].into_iter().flatten().flatten().collect();
            found.lines.push(CommandLine { place, words });
        }
        (entry, command) => {
            for (place, text) in [entry, command].into_iter().flatten() {
                match list(&text) {
                    Some(words) => found.lines.push(CommandLine { place, words }),
                    None => found.line(place, &text, &text),
                }
            }
        }
    }
    found
}

/// `ExecStart` and `Environment` of a service. What else a unit says stays there.
fn unit(name: &str, lines: &[(usize, String)]) -> Found {
    let mut found = Found::default();
    for (at, line) in lines {
        let Some((key, value)) = line.split_once('=') else { continue };
        let place = Place::new(name, *at);
        let stays = "it stays in the unit";
        match key.trim() {
            "ExecStart" => {
                let value = value.trim().trim_start_matches(['@', '-', ':', '+', '!']);
                found.line(place, value, line);
                if let Some(line) = found.lines.last_mut() {
                    line.words = line.words.iter().map(of_unit).collect();
                }
            }
            "Environment" => found.variables(&place, value),
            "WorkingDirectory" => {
                found.remarks.add(&place, line, Treatment::Dropped, format!("{stays}; the pipeline file belongs into this folder"));
            }
            "ExecReload" | "KillMode" | "KillSignal" | "PIDFile" | "Type" => {
                let note = "for `ziggurat run`, write `Type=notify` and `ExecReload=kill -HUP $MAINPID`";
                found.remarks.add(&place, line, Treatment::Dropped, note);
            }
            _ => found.remarks.add(&place, line, Treatment::Dropped, stays),
        }
    }
    found
}

fn script(name: &str, lines: &[(usize, String)]) -> Found {
    let mut found = Found::default();
    for (at, line) in lines.iter().filter(|(_, line)| !line.starts_with("#!")) {
        let place = Place::new(name, *at);
        match line.strip_prefix("export ") {
            Some(variables) => found.variables(&place, variables),
            None => found.line(place, line, line),
        }
    }
    found
}

impl Found {
    fn line(&mut self, place: Place, command: &str, theirs: &str) {
        match CommandLine::shell(place.clone(), command) {
            Ok(line) => self.lines.push(line),
            Err(_) => self.remarks.add(&place, theirs, Treatment::Dropped, "it cannot be read: a quote is not closed"),
        }
    }

    /// `NAME=value NAME=value`, or `NAME value`.
    fn variables(&mut self, place: &Place, text: &str) {
        let Ok(words) = shell::words(text) else {
            return self.remarks.add(place, text, Treatment::Dropped, "it cannot be read: a quote is not closed");
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
