//! `ziggurat import`: from the configuration of another server to a pipeline file, with a remark for each setting. It runs no code of the files that it reads.

mod commands;
mod draft;
mod gunicorn;
mod pastedeploy;
mod proxies;
mod python;
mod remarks;
mod shell;
mod stand_ins;
#[cfg(test)]
mod tests;
mod unit;
mod uwsgi;
mod value;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ziggurat_middleware::system_words;

use commands::CommandLine;
use remarks::Place;
pub(crate) use remarks::Remarks;
pub(crate) use stand_ins::stand_in;

/// A bound on the size of a file.
const MAX_OCTETS: u64 = 1 << 20;

/// What became of a configuration.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The text of the pipeline file.
    pub(crate) pipeline: String,
    pub(crate) remarks: Remarks,
}

/// Why there is no pipeline file. The first line is the message, a second one the hint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotImported(pub(crate) String);

/// Imports a file: the JSON of NGINX Unit, a file of uWSGI or Paste Deploy, `gunicorn.conf.py`, or a Procfile, a Dockerfile, a systemd unit or a shell script with a command line of gunicorn, uWSGI or `pserve`.
///
/// # Errors
///
/// If the file cannot be read, or does not name an app.
pub(crate) fn file(path: &Path) -> Result<Imported, NotImported> {
    let text = read(path).map_err(NotImported)?;
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    if path.extension().is_some_and(|extension| extension == "py") {
        return gunicorn::config(&name, &text);
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return unit::config(&name, &text);
    }
    if pastedeploy::is_config(&text) {
        return pastedeploy::config(&name, &text);
    }
    if uwsgi::is_config(&name, &text) {
        return uwsgi::config(&name, &text);
    }
    let found = commands::of_file(&name, &text)?;
    server(folder, found)
}

/// Imports a command line of gunicorn, uWSGI or `pserve`. Files that it names are relative to `folder`.
///
/// # Errors
///
/// If it is none, or does not name an app.
pub(crate) fn command(folder: &Path, line: &str) -> Result<Imported, NotImported> {
    let place = Place::new("(command line)", 1);
    let line = CommandLine::shell(place, line).map_err(NotImported)?;
    server(folder, commands::Found { lines: vec![line], ..commands::Found::default() })
}

/// Imports what starts gunicorn, or else uWSGI or Pyramid's `pserve`.
fn server(folder: &Path, found: commands::Found) -> Result<Imported, NotImported> {
    let starts = |program| found.lines.iter().any(|line| shell::call(&line.words, program).is_some());
    if starts("gunicorn") {
        gunicorn::command(folder, found)
    } else if starts("pserve") {
        pastedeploy::command(folder, found)
    } else {
        uwsgi::command(folder, found)
    }
}

/// Reads a file as text, within bounds.
fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: &std::io::Error| format!("cannot read `{}`: {}", path.display(), system_words(error));
    if std::fs::metadata(path).map_err(|error| cannot(&error))?.is_dir() {
        return Err(format!("`{}` is a folder\nhint: name the file in it", path.display()));
    }
    let mut octets = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_OCTETS + 1).read_to_end(&mut octets)).map_err(|error| cannot(&error))?;
    if octets.len() as u64 > MAX_OCTETS {
        return Err(format!("`{}` is larger than 1 MiB", path.display()));
    }
    let text = String::from_utf8(octets).map_err(|_| format!("`{}` is not UTF-8 text", path.display()))?;
    Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n"))
}
