//! Command lines of other servers in the files of a project. They name the app that is deployed.

use std::path::{Path, PathBuf};

use super::modules::{exists, text};
use super::python::{Line, is_name, literal, logical_lines};
use super::settings::Settings;

/// An app that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// The file with the command line, and the server it starts.
    pub(super) file: String,
    pub(super) server: &'static str,
    pub(super) module: String,
    pub(super) callable: String,
    /// The folder of the module, relative to the project's.
    pub(super) base: PathBuf,
    /// What else it says.
    pub(super) settings: Settings,
}

const FILES: &[&str] = &[
    "Procfile",
    "Dockerfile",
    "Containerfile",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "entrypoint.sh",
    "docker-entrypoint.sh",
    "start.sh",
    "run.sh",
    "uwsgi.ini",
];

/// Servers, each with its default name of the callable.
const SERVERS: &[(&str, &str)] = &[
    ("gunicorn", "application"),
    ("uwsgi", "application"),
    ("waitress-serve", "app"),
    ("granian", "app"),
    ("mod_wsgi-express", "application"),
];

/// The apps that the files of the project name, each once. Modules outside the project are left out.
pub(super) fn hints(folder: &Path) -> Vec<Hint> {
    let mut hints: Vec<Hint> = Vec::new();
    for file in FILES {
        let Some(text) = text(&folder.join(file)) else { continue };
        // A command may continue on the next line.
        for mut hint in text.replace("\\\n", " ").lines().filter_map(|line| hint(folder, file, line)) {
            if *file == "uwsgi.ini" {
                hint.settings = ini(&text);
            }
            if !hints.iter().any(|known| (&known.module, &known.callable) == (&hint.module, &hint.callable)) {
                hints.push(hint);
            }
        }
    }
    if let Some(text) = text(&folder.join(GUNICORN)) {
        let lines = logical_lines(&text);
        let settings = Settings::of_python(&lines);
        match &mut hints[..] {
            // The command line counts before the file.
            [hint] if hint.server == "gunicorn" => hint.settings.complete(settings),
            [] => hints.extend(named_by(folder, &lines).map(|hint| Hint { settings, ..hint })),
            _ => {}
        }
    }
    hints
}

/// The configuration of gunicorn, which is Python.
const GUNICORN: &str = "gunicorn.conf.py";

/// The app that `wsgi_app` of a `gunicorn.conf.py` names.
fn named_by(folder: &Path, lines: &[Line]) -> Option<Hint> {
    let named = lines.iter().filter_map(Line::assignment).find(|(name, _)| *name == "wsgi_app");
    hint(folder, GUNICORN, &format!("gunicorn {}", literal(named?.1)?))
}

/// The options of a `uwsgi.ini`.
fn ini(text: &str) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        settings.set(name.trim(), value.trim());
    }
    settings
}

fn hint(folder: &Path, file: &str, line: &str) -> Option<Hint> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = line.split([' ', '\t', '"', '\'', ',', '[', ']', '=']).filter(|word| !word.is_empty()).collect();
    let is_ini = file == "uwsgi.ini" && matches!(words.first(), Some(&"module" | &"wsgi"));
    let (server, usual) = SERVERS.iter().find(|(server, _)| {
        let called = |word: &&str| word.rsplit('/').next() == Some(*server);
        words.iter().any(called) || (is_ini && *server == "uwsgi")
    })?;
    let after = |option: &str| words.iter().skip_while(|word| **word != option).nth(1).map(PathBuf::from);
    // In an ini file, the options are on the other lines.
    let settings = if is_ini { Settings::default() } else { Settings::of_words(&words) };
    let bases: Vec<PathBuf> =
        [after("--chdir"), after("--pythonpath"), Some(PathBuf::new()), Some(PathBuf::from("src"))].into_iter().flatten().collect();
    words.iter().find_map(|word| {
        let (module, callable) = word.split_once(':').unwrap_or((word, usual));
        let is_app = module.split('.').all(is_name) && callable.trim_end_matches("()").split('.').all(is_name) && word != server;
        let base = bases.iter().find(|base| is_app && !base.is_absolute() && exists(&folder.join(base), module))?;
        Some(Hint {
            file: file.to_owned(),
            server,
            module: module.to_owned(),
            callable: callable.to_owned(),
            base: base.clone(),
            settings: settings.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn command_lines_name_apps_of_the_project() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("mysite")).unwrap();
        fs::create_dir_all(folder.path().join("src/shop")).unwrap();
        for file in ["mysite/__init__.py", "mysite/wsgi.py", "src/shop/__init__.py", "app.py"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let cases = [
            ("web: gunicorn mysite.wsgi --log-file -", Some(("mysite.wsgi", "application", ""))),
            ("web: gunicorn -w 4 --worker-class gevent mysite.wsgi:app", Some(("mysite.wsgi", "app", ""))),
            ("CMD [\"gunicorn\", \"-b\", \"0.0.0.0:8000\", \"app:create_app()\"]", Some(("app", "create_app()", ""))),
            ("exec /usr/bin/gunicorn --chdir=src shop:app # not app:app", Some(("shop", "app", "src"))),
            ("waitress-serve --listen=localhost:8080 app", Some(("app", "app", ""))),
            ("gunicorn elsewhere.wsgi", None),
            ("gunicorn --bind unix:app", None),
            ("python app.py", None),
        ];
        for (line, expected) in cases {
            let found = hint(folder.path(), "Procfile", line);
            let found = found.as_ref().map(|hint| (hint.module.as_str(), hint.callable.as_str(), hint.base.to_str().unwrap()));
            assert_eq!(found, expected, "{line}");
        }
        assert!(hint(folder.path(), "uwsgi.ini", "module = mysite.wsgi:application").is_some());
    }
}
