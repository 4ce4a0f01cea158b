//! gunicorn: its command line and `gunicorn.conf.py`, of which only literals and the like are read.

mod config_file;
mod connections;
mod options;
mod processes;
mod settings;

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::commands::{Found, Start};
use super::draft::Draft;
use super::pastedeploy::{Served, Site};
use super::python::{Names, evaluate};
use super::remarks::{Place, Remarks, Treatment};
use super::shell;
use super::value::{Reference, Value, at_first_colon, below, unescaped, variable};
use super::{Imported, NotImported, read};
use crate::detect::python::{is_name, split};
use settings::{Given, GunicornSettings, Rank};

/// The file that gunicorn reads by itself.
const CONFIG: &str = "gunicorn.conf.py";

/// Imports a `gunicorn.conf.py`.
pub(super) fn config(name: &str, text: &str) -> Result<Imported, NotImported> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let mut import = Import { folder: folder.to_owned(), ..Import::default() };
    config_file::read(name, text, &mut import.settings, &mut import.remarks)?;
    import.finish()
}

/// Imports a command line of gunicorn, with the configuration file that it names or that lies in `folder`.
pub(super) fn command(folder: &Path, found: Found) -> Result<Imported, NotImported> {
    let Start { place, call, environment, sockets, remarks } = found.start("gunicorn", "gunicorn")?;
    let mut import = Import { remarks, folder: folder.to_owned(), ..Import::default() };
    import.sockets = sockets;
    import.platform_sets_port = place.file.to_ascii_lowercase().contains("procfile");
    for (at, name, value) in &environment {
        import.variable(at, name, value.clone(), false);
    }
    for (name, value) in call.environment {
        import.variable(&place, &name, value, true);
    }
    import.settings.arguments(&place, &call.arguments, &environment, Rank::CommandLine, &mut import.remarks);
    import.read_config(folder)?;
    import.finish()
}

/// What settings say that another file gives, by name, value and place: everything but the app.
pub(super) fn runner(given: impl Iterator<Item = (String, String, Place)>) -> Result<Served, NotImported> {
    let mut import = Import::default();
    for (name, value, place) in given {
        let theirs = if name.eq_ignore_ascii_case("raw_env") { format!("{name} = ...") } else { format!("{name} = {value}") };
        match options::setting(&name.to_ascii_lowercase()) {
            Some(setting) => import.settings.give(setting, Value::plain(&value), &place, &theirs, Rank::File),
            None => {
                let hint = options::suggestion(&name, options::names()).map_or(String::new(), |known| format!(": did you mean `{known}`?"));
                import.remarks.add(&place, &theirs, Treatment::Dropped, format!("gunicorn has no such setting{hint}"));
            }
        }
    }
    import.settings.settle(&mut import.remarks);
    import.served()
}

#[derive(Default)]
struct Import {
    /// The folder of the file or the command line.
    folder: PathBuf,
    settings: GunicornSettings,
    remarks: Remarks,
    draft: Draft,
    /// Options of the `wsgi` app.
    wsgi: Map<String, Json>,
    /// Variables beside those of `raw_env`.
    env: Map<String, Json>,
    /// Whether the variable PORT says where the platform expects the site.
    platform_sets_port: bool,
    /// Where the unit says that systemd passes sockets.
    sockets: Option<Place>,
    /// The folder that relative paths start at, if it is not that of the pipeline file.
    working: Option<String>,
}

impl Import {
    /// A path of a setting, as it is from the folder of the pipeline file.
    fn in_folder(&self, path: &str) -> String {
        below(self.working.as_deref(), path)
    }

    /// A variable of the environment that the file sets, for everything or for gunicorn alone.
    fn variable(&mut self, place: &Place, name: &str, value: Value, is_for_it_alone: bool) {
        match (name, value.text()) {
            ("GUNICORN_CMD_ARGS", _) => match value.plain_text().and_then(|line| shell::words(&line).ok()) {
                Some(words) => self.settings.arguments(place, &words, &[], Rank::Variable, &mut self.remarks),
                None => self.remarks.add(place, name, Treatment::Dropped, "its value is not known before it runs"),
            },
            ("FORWARDED_ALLOW_IPS", Some(text)) => self.settings.give("forwarded_allow_ips", Value::Text(text), place, name, Rank::File),
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
    fn read_config(&mut self, folder: &Path) -> Result<(), NotImported> {
        let given = self.settings.take("config");
        let (path, place, theirs) = match &given {
            Some(given) => match given.value.plain_text() {
                Some(path) if !path.starts_with("python:") => {
                    (path.trim_start_matches("file:").to_owned(), &given.place, given.theirs.as_str())
                }
                _ => {
                    let note = "it is a module, and not a file: import the file by itself";
                    self.remarks.add(&given.place, &given.theirs, Treatment::Dropped, note);
                    self.settings.undecided(None, &given.place);
                    return Ok(());
                }
            },
            None => (CONFIG.to_owned(), &Place::default(), CONFIG),
        };
        let file = folder.join(&path);
        let is_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if given.is_none() && !file.is_file() {
            return Ok(());
        }
        if !is_inside {
            let note = "only files below the folder of the command line are read: copy it there, and import again";
            self.remarks.add(place, theirs, Treatment::Dropped, note);
            self.settings.undecided(None, place);
            return Ok(());
        }
        match read(&file) {
            Ok(text) => {
                if given.is_some() {
                    self.remarks.add(place, theirs, Treatment::Taken, format!("the settings of `{}` follow", file.display()));
                }
                config_file::read(&file.display().to_string(), &text, &mut self.settings, &mut self.remarks)
            }
            Err(error) => {
                self.remarks.add(place, theirs, Treatment::Dropped, error.lines().next().unwrap_or_default());
                self.settings.undecided(None, place);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<Imported, NotImported> {
        self.settings.settle(&mut self.remarks);
        if let Some(site) = self.paste()? {
            return site.served_by(self.served()?);
        }
        self.app()?;
        let served = self.served()?;
        let mut draft = served.draft;
        draft.app = json!({ "wsgi": served.wsgi });
        Ok(Imported { pipeline: draft.text(), remarks: served.remarks.sorted() })
    }

    /// Everything but the app.
    fn served(mut self) -> Result<Served, NotImported> {
        self.processes()?;
        self.connections();
        self.layers();
        for given in self.settings.rest() {
            let note = options::reason(given.setting);
            self.remarks.add(&given.place, &given.theirs, Treatment::Dropped, note);
        }
        Ok(Served { draft: self.draft, wsgi: self.wsgi, remarks: self.remarks })
    }

    /// The app of Paste Deploy, if there is one.
    fn paste(&mut self) -> Result<Option<Site>, NotImported> {
        let Some(given) = self.settings.take("paste") else { return Ok(None) };
        let Some(uri) = given.value.plain_text() else {
            return Err(NotImported(format!("{}: the file of Paste Deploy is not known before it runs: `{}`", given.place, given.theirs)));
        };
        let mut variables = Vec::new();
        self.taken("raw_paste_global_conf", |_, value| {
            for item in value.items() {
                let item = item.plain_text().ok_or("a value is not known before it runs")?;
                let (name, value) = item.split_once('=').ok_or("an item is not `NAME=value`")?;
                variables.push((name.to_owned(), value.to_owned()));
            }
            Ok((Treatment::Taken, "in the first argument of every factory, and in place of `%(NAME)s`".to_owned()))
        });
        let site = Site::below(&self.folder, &uri, variables)?;
        self.remarks.add(&given.place, &given.theirs, Treatment::Taken, "`layers` and `app`: its sections follow");
        Ok(Some(site))
    }

    /// Takes a setting over, if its value is one that `as_ours` knows; its note is what the pipeline has.
    fn taken(&mut self, setting: &str, as_ours: impl FnOnce(&mut Self, &Value) -> Result<(Treatment, String), String>) -> bool {
        let Some(given) = self.settings.take(setting) else { return false };
        let treated = match &given.value {
            Value::Code(_) => Err("it is code, which is not run: write the value by hand".to_owned()),
            value => as_ours(self, value),
        };
        let is_taken = treated.is_ok();
        let changes = self.settings.changed_by(setting, Some(&given)).map(|place| format!("; {place} may change it, which is not run"));
        match (treated, changes) {
            (Ok((_, note)), Some(changes)) => {
                self.remarks.add(&given.place, &given.theirs, Treatment::Approximated, format!("{note}{changes}"));
            }
            (Ok((treatment, note)), None) => self.remarks.add(&given.place, &given.theirs, treatment, note),
            (Err(note), _) => {
                // A default in its place is a guess.
                self.settings.undecided(Some(given.setting), &given.place);
                self.remarks.add(&given.place, &given.theirs, Treatment::Dropped, note);
            }
        }
        is_taken
    }

    /// What gunicorn does where nothing is said.
    fn by_default(&mut self, theirs: &str, treatment: Treatment, note: &str) {
        match self.settings.changed_by(theirs.split_whitespace().next().unwrap_or_default(), None) {
            Some(place) => {
                let note = format!("{note}; {place} may say something else, which is not known before it runs");
                self.remarks.add(&Place::default(), theirs, Treatment::Approximated, note);
            }
            None => self.remarks.add(&Place::default(), theirs, treatment, note),
        }
    }

    /// The first option of `wsgi`: which app.
    fn app(&mut self) -> Result<(), NotImported> {
        let Some(given) = self.settings.take("wsgi_app") else {
            return Err(NotImported(
                "no app is named\nhint: import the command line, as in `ziggurat import --command 'gunicorn -c gunicorn.conf.py mysite.wsgi'`"
                    .to_owned(),
            ));
        };
        let Some(text) = given.value.text() else {
            return Err(NotImported(format!(
                "{}: the app is not known before it runs: `{}`\nhint: write its name in place",
                given.place, given.theirs
            )));
        };
        let (module, callable) = match Reference::of(&text) {
            Some(_) => return self.app_of_variable(&given, &text),
            None => at_first_colon(&text).unwrap_or((&text, "application")),
        };
        let (name, arguments) = callable.split_once('(').map_or((callable, None), |(name, rest)| (name, Some(rest)));
        let call = if arguments.is_some() { "()" } else { "" };
        let app = format!("{}:{}{call}", module.trim(), name.trim());
        let mut note = format!("`app`: {}", Json::from(app.as_str()));
        let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(app))]);
        if let Some(arguments) = arguments.map(|rest| rest.trim_end().trim_end_matches(')')).filter(|rest| !rest.trim().is_empty()) {
            let (args, kwargs) = literals(arguments).ok_or_else(|| {
                NotImported(format!("{}: `{}`: the arguments of a factory are literals, as gunicorn has it", given.place, given.theirs))
            })?;
            note.push_str(", with `args` and `kwargs`");
            if !args.is_empty() {
                wsgi.insert("args".into(), args.into());
            }
            if !kwargs.is_empty() {
                wsgi.insert("kwargs".into(), kwargs.into());
            }
        }
        self.remarks.add(&given.place, &given.theirs, Treatment::Taken, note);
        self.wsgi = wsgi;
        Ok(())
    }

    /// An app that a variable names.
    fn app_of_variable(&mut self, given: &Given, text: &str) -> Result<(), NotImported> {
        let whole = |default: &str| if default.contains(':') { default.to_owned() } else { format!("{default}:application") };
        let app = Reference::of(text).and_then(|Reference { name, default }| variable(name, default.map(whole).as_deref()));
        let app = app.ok_or_else(|| NotImported(format!("{}: the app is not known before it runs: `{}`", given.place, given.theirs)))?;
        let note = format!("`app`: {}: the variable holds `module:callable`", Json::from(app.as_str()));
        self.remarks.add(&given.place, &given.theirs, Treatment::Approximated, note);
        self.wsgi.insert("app".into(), app.into());
        Ok(())
    }
}

/// The arguments of a call, if they are literals without variables.
fn literals(arguments: &str) -> Option<(Vec<Json>, Map<String, Json>)> {
    let (mut args, mut kwargs) = (Vec::new(), Map::new());
    let plain = unescaped(arguments)?;
    for argument in split(&plain).into_iter().filter(|argument| !argument.trim().is_empty()) {
        match argument.split_once('=').map(|(name, value)| (name.trim(), value)).filter(|(name, _)| is_name(name)) {
            Some((name, value)) => drop(kwargs.insert(name.to_owned(), evaluate(value, &Names::new()).to_json()?)),
            None => args.push(evaluate(argument, &Names::new()).to_json()?),
        }
    }
    Some((args, kwargs))
}
