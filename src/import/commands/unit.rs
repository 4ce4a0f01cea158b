//! A systemd unit: `ExecStart` and `Environment` of a service. What else it says stays there.

use super::lines::{Syntax, logical_lines};
use super::{CommandLine, Found, NOT_CLOSED, joined};
use crate::import::remarks::{Place, Treatment};
use crate::import::shell::{self, of_unit};
use crate::import::value::Value;

pub(super) fn read(name: &str, text: &str) -> Found {
    let mut found = Found::default();
    for (at, line) in logical_lines(text, &Syntax::UNIT) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let place = Place::new(name, at);
        let value = value.trim();
        let stays = "it stays in the unit";
        match key.trim() {
            // An empty value takes back what is above.
            "ExecStart" if value.is_empty() => {
                for earlier in std::mem::take(&mut found.lines) {
                    found.remarks.add(&earlier.place, &joined(&earlier.words), Treatment::Dropped, reset(at));
                }
                found.remarks.add(&place, &line, Treatment::Taken, "the commands above do not count");
            }
            "Environment" if value.is_empty() => {
                for (earlier, variable, _) in std::mem::take(&mut found.environment) {
                    found.remarks.add(&earlier, &variable, Treatment::Dropped, reset(at));
                }
                found.remarks.add(&place, &line, Treatment::Taken, "the variables above do not count");
            }
            "ExecStart" => match command(place.clone(), value) {
                Ok(line) => found.lines.push(line),
                Err(_) => found.remarks.add(&place, &line, Treatment::Dropped, NOT_CLOSED),
            },
            "Environment" => found.variables(&place, value),
            "Requires" | "Requisite" | "Wants" | "BindsTo" | "Sockets"
                if value.split_whitespace().any(|unit| unit.ends_with(".socket")) =>
            {
                found.sockets = Some(place.clone());
                found.remarks.add(&place, &line, Treatment::Dropped, format!("{stays}: systemd passes the sockets to the server"));
            }
            "EnvironmentFile" => {
                let note =
                    "and is not read: of what it sets, write `GUNICORN_CMD_ARGS`, `WEB_CONCURRENCY`, `UWSGI_...` and options by hand";
                found.remarks.add(&place, &line, Treatment::Dropped, format!("{stays}, {note}"));
            }
            "WorkingDirectory" => {
                found.remarks.add(&place, &line, Treatment::Dropped, format!("{stays}; the pipeline file belongs into this folder"));
            }
            "ExecReload" | "KillMode" | "KillSignal" | "PIDFile" | "Type" => {
                let note = "for `ziggurat run`, write `Type=notify` and `ExecReload=kill -HUP $MAINPID`";
                found.remarks.add(&place, &line, Treatment::Dropped, note);
            }
            _ => found.remarks.add(&place, &line, Treatment::Dropped, stays),
        }
    }
    found
}

fn reset(at: usize) -> String {
    format!("it does not count: line {at} takes it back")
}

/// A command after its prefixes (systemd.service(5)): `@` gives it another name in the process list, and `:` takes variables as they are written.
fn command(place: Place, value: &str) -> Result<CommandLine, String> {
    let command = value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefixes = &value[..value.len() - command.len()];
    let mut words = shell::words(command)?;
    if prefixes.contains('@') && words.len() > 1 {
        words.remove(1);
    }
    for word in &mut words {
        *word = of_unit(word);
        if prefixes.contains(':') {
            word.value = Value::plain(&word.raw);
        }
    }
    Ok(CommandLine { place, words, condition: None })
}
