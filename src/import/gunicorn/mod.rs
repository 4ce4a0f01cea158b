//! gunicorn: its command line and `gunicorn.conf.py`, of which only literals and the like are read.

mod config_file;
mod connections;
mod options;
mod processes;
mod settings;

use std::path::{Component, Path};

use serde_json::{Map, Value as Json, json};

use super::commands::Found;
use super::draft::Draft;
use super::remarks::{Place, Remarks, Treatment};
use super::shell::{self, Call};
use super::value::Value;
use super::{Imported, NotImported, read};
use settings::{GunicornSettings, Rank};

/// The file that gunicorn reads by itself.
const CONFIG: &str = "gunicorn.conf.py";

/// Imports a `gunicorn.conf.py`.
pub(super) fn config(name: &str, text: &str) -> Result<Imported, NotImported> {
    let mut import = Import::default();
    config_file::read(name, text, &mut import.settings, &mut import.remarks);
    import.finish()
}

/// Imports a command line of gunicorn, with the configuration file that it names or that lies in `folder`.
pub(super) fn command(folder: &Path, found: Found) -> Result<Imported, NotImported> {
    let mut import = Import { remarks: found.remarks, ..Import::default() };
    let mut calls: Vec<(Place, Call)> = Vec::new();
    for line in found.lines {
        match shell::call(&line.words, "gunicorn") {
            Some(call) => calls.push((line.place, call)),
            None => {
                let words: Vec<&str> = line.words.iter().map(|word| word.raw.as_str()).collect();
                import.remarks.add(&line.place, &words.join(" "), Treatment::Dropped, "it does not start gunicorn: it stays where it is");
            }
        }
    }
    if calls.is_empty() {
        return Err(NotImported(
            "there is no command line of gunicorn\nhint: name the file with it, or give it with `--command 'gunicorn ...'`".to_owned(),
        ));
    }
    let mut calls = calls.into_iter();
    let Some((place, call)) = calls.next() else { return import.finish() };
    for (place, _) in calls {
        import.remarks.add(
            &place,
            "gunicorn",
            Treatment::Dropped,
            "one command becomes the pipeline, and this is another one: import it by itself",
        );
    }
    for around in &call.around {
        import.remarks.add(
            &place,
            around,
            Treatment::Dropped,
            "it is run beside the server: keep it, with `ziggurat run` in place of gunicorn",
        );
    }
    import.platform_sets_port = place.file.to_ascii_lowercase().contains("procfile");
    for (at, name, value) in found.environment {
        import.variable(&at, &name, value, false);
    }
    for (name, value) in call.environment {
        import.variable(&place, &name, value, true);
    }
    import.settings.arguments(&place, &call.arguments, Rank::CommandLine, &mut import.remarks);
    import.read_config(folder);
    import.finish()
}

#[derive(Default)]
struct Import {
    settings: GunicornSettings,
    remarks: Remarks,
    draft: Draft,
    /// Options of the `wsgi` app.
    wsgi: Map<String, Json>,
    /// Variables beside those of `raw_env`.
    env: Map<String, Json>,
    /// Whether the variable PORT says where the platform expects the site.
    platform_sets_port: bool,
}

impl Import {
    /// A variable of the environment that the file sets, for everything or for gunicorn alone.
    fn variable(&mut self, place: &Place, name: &str, value: Value, is_for_it_alone: bool) {
        match (name, value.text()) {
            ("GUNICORN_CMD_ARGS", _) => match value.plain_text().and_then(|line| shell::words(&line).ok()) {
                Some(words) => self.settings.arguments(place, &words, Rank::Variable, &mut self.remarks),
                None => self.remarks.add(place, name, Treatment::Dropped, "its value is not known before it runs"),
            },
            ("WEB_CONCURRENCY", Some(text)) => self.settings.give("workers", Value::Text(text), place, name, Rank::File),
            (_, Some(text)) if is_for_it_alone => {
                self.remarks.add(place, name, Treatment::Taken, "`env` of the app");
                self.env.insert(name.to_owned(), text.into());
            }
            _ if is_for_it_alone => {
                self.remarks.add(
                    place,
                    name,
                    Treatment::Dropped,
                    "its value is not known before it runs: set it where the server is started",
                );
            }
            _ => {
                self.platform_sets_port |= name == "PORT";
                self.remarks.add(place, name, Treatment::Dropped, "it stays where it is: workers inherit the variables of the server");
            }
        }
    }

    /// Reads the configuration file that the command line names, or gunicorn's usual one.
    fn read_config(&mut self, folder: &Path) {
        let given = self.settings.take("config");
        let (path, place, theirs) = match &given {
            Some(given) => match given.value.plain_text() {
                Some(path) if !path.starts_with("python:") => {
                    (path.trim_start_matches("file:").to_owned(), &given.place, given.theirs.as_str())
                }
                _ => {
                    return self.remarks.add(
                        &given.place,
                        &given.theirs,
                        Treatment::Dropped,
                        "it is a module, and not a file: import the file by itself",
                    );
                }
            },
            None => (CONFIG.to_owned(), &Place::default(), CONFIG),
        };
        let file = folder.join(&path);
        let is_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if given.is_none() && !file.is_file() {
            return;
        }
        if !is_inside {
            let note = "only files below the folder of the command line are read: copy it there, and import again";
            return self.remarks.add(place, theirs, Treatment::Dropped, note);
        }
        match read(&file) {
            Ok(text) => {
                if given.is_some() {
                    self.remarks.add(place, theirs, Treatment::Taken, format!("the settings of `{}` follow", file.display()));
                }
                config_file::read(&file.display().to_string(), &text, &mut self.settings, &mut self.remarks);
            }
            Err(error) => self.remarks.add(place, theirs, Treatment::Dropped, error.lines().next().unwrap_or_default()),
        }
    }

    fn finish(mut self) -> Result<Imported, NotImported> {
        self.settings.settle(&mut self.remarks);
        self.app()?;
        self.processes()?;
        self.connections();
        self.layers();
        for given in self.settings.rest() {
            let note = options::reason(given.setting);
            self.remarks.add(&given.place, &given.theirs, Treatment::Dropped, note);
        }
        self.draft.app = json!({ "wsgi": self.wsgi });
        Ok(Imported { pipeline: self.draft.text(), remarks: self.remarks.sorted() })
    }

    /// Takes a setting over, if its value is one that `as_ours` knows; its note is what the pipeline has.
    fn taken(&mut self, setting: &str, as_ours: impl FnOnce(&mut Self, &Value) -> Result<(Treatment, String), String>) -> bool {
        let Some(given) = self.settings.take(setting) else { return false };
        let treated = match &given.value {
            Value::Code(_) => Err("it is code, which is not run: write the value by hand".to_owned()),
            value => as_ours(self, value),
        };
        let is_taken = treated.is_ok();
        match treated {
            Ok((treatment, note)) => self.remarks.add(&given.place, &given.theirs, treatment, note),
            Err(note) => self.remarks.add(&given.place, &given.theirs, Treatment::Dropped, note),
        }
        is_taken
    }

    /// What gunicorn does where nothing is said.
    fn by_default(&mut self, theirs: &str, treatment: Treatment, note: &str) {
        self.remarks.add(&Place::default(), theirs, treatment, note);
    }

    /// The first option of `wsgi`: which app.
    fn app(&mut self) -> Result<(), NotImported> {
        let paste = self.settings.take("paste");
        let Some(given) = self.settings.take("wsgi_app") else {
            return Err(NotImported(match paste {
                Some(given) => format!("the app is made by Paste Deploy: `{}`\nhint: write a module with `application = loadapp(\"config:...\")` and import `gunicorn module`", given.theirs),
                None => "no app is named\nhint: import the command line, as in `ziggurat import --command 'gunicorn -c gunicorn.conf.py mysite.wsgi'`".to_owned(),
            }));
        };
        let Some(text) = given.value.text() else {
            return Err(NotImported(format!(
                "{}: the app is not known before it runs: `{}`\nhint: write its name in place",
                given.place, given.theirs
            )));
        };
        let (module, callable) = text.split_once(':').unwrap_or((&text, "application"));
        let (name, arguments) =
            callable.split_once('(').map_or((callable, ""), |(name, rest)| (name, rest.trim_end().trim_end_matches(')')));
        let call = if callable.contains('(') { "()" } else { "" };
        let app = format!("{}:{}{call}", module.trim(), name.trim());
        let (treatment, note) = if arguments.trim().is_empty() {
            (Treatment::Taken, format!("`app`: {}", Json::from(app.as_str())))
        } else {
            (
                Treatment::Approximated,
                format!(
                    "`app`: {}: a factory is called without arguments: write a module that calls it with `{arguments}`",
                    Json::from(app.as_str())
                ),
            )
        };
        self.remarks.add(&given.place, &given.theirs, treatment, note);
        self.wsgi.insert("app".into(), app.into());
        Ok(())
    }
}
