//! The app, or several of them, and its processes.

use serde_json::{Map, Value as Json, json};

use super::super::NotImported;
use super::super::remarks::Treatment::{Approximated, Dropped, Taken};
use super::super::value::Value;
use super::{Given, Import};
use crate::detect::python::is_name;

/// The most worker processes, threads, and threads that stand for greenlets.
const MOST_WORKERS: u64 = 256;
const MOST_THREADS: u64 = 1024;
const MOST_GREENLETS: u64 = 64;

impl Import {
    /// The app, or a table of routes of several.
    pub(super) fn app(&mut self) -> Result<(), NotImported> {
        let callable = self.get("callable").and_then(Value::text);
        let main = self.main_app(callable.as_deref())?;
        let has_own = main.is_some();
        self.processes();
        self.recycling();
        let folders = self.folders();
        let (mut main, folder) = main.map_or((None, None), |app| (Some(app.name), app.folder));
        self.wsgi.extend(folders.path(folder).map(|path| ("path".to_owned(), path)));
        self.variables();
        let is_moved = self.is_on("manage-script-name");
        self.silent();
        let mut routes = Vec::new();
        let base = self.wsgi.clone();
        for given in self.take_all("mount") {
            let Some((mount, app)) = self.mounted(&given, callable.as_deref()) else {
                self.remarks.add(&given.place, &given.theirs, Dropped, "it is no `/path=module:callable` or `/path=file.py`");
                continue;
            };
            let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(app.name.as_str()))]);
            wsgi.extend(base.clone());
            wsgi.shift_remove("path");
            wsgi.extend(folders.path(app.folder).map(|path| ("path".to_owned(), path)));
            if mount.is_empty() && main.is_some() {
                let note = if has_own {
                    "`module` or `wsgi-file` names the app of these paths"
                } else {
                    "another `mount` names the app of these paths"
                };
                self.remarks.add(&given.place, &given.theirs, Dropped, note);
            } else if mount.is_empty() {
                self.remarks.add(
                    &given.place,
                    &given.theirs,
                    if app.note.is_empty() { Taken } else { Approximated },
                    format!("the app of the paths that no other one has{}", app.note),
                );
                main = Some(app.name);
                self.wsgi = wsgi;
            } else {
                let scripts = if is_moved {
                    ""
                } else {
                    "; without `manage-script-name`, uWSGI asks the front server for SCRIPT_NAME, and not the path"
                };
                let note = format!("`mount` of a route; each app has workers of its own{scripts}{}", app.note);
                self.remarks.add(&given.place, &given.theirs, Approximated, note);
                routes.push(json!({ "mount": mount, "app": { "wsgi": wsgi } }));
            }
        }
        if main.is_none() && !routes.is_empty() {
            self.by_default("other paths", Dropped, "they get 404: uWSGI passes them to the app that it loads first");
        }
        self.taken("callable", |_, _| Ok((Taken, "`app`".to_owned())));
        if main.is_none() && routes.is_empty() {
            let hint = "`module`, `wsgi-file` or `mount` names it; what Paste, Pecan and emperors load is imported by itself";
            return Err(NotImported(format!("no app is named\nhint: {hint}")));
        }
        if let Some(app) = main {
            let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(app))]);
            wsgi.extend(std::mem::take(&mut self.wsgi).into_iter().filter(|(name, _)| name != "app"));
            self.wsgi = wsgi;
            if !routes.is_empty() {
                routes.push(json!({ "app": { "wsgi": self.wsgi } }));
            }
        }
        if !routes.is_empty() {
            self.draft.app = json!({ "routes": routes });
        }
        Ok(())
    }

    fn main_app(&mut self, callable: Option<&str>) -> Result<Option<App>, NotImported> {
        // The last module counts, or else the last file.
        let mut all = self.take_all("wsgi-file");
        all.extend(self.take_all("module"));
        let Some(given) = all.pop() else { return Ok(None) };
        for other in all {
            self.remarks.add(&other.place, &other.theirs, Dropped, format!("it does not count: {} names the app", given.place));
        }
        let text = given
            .value
            .text()
            .ok_or_else(|| NotImported(format!("{}: the app is not known before uWSGI starts: `{}`", given.place, given.theirs)))?;
        let app = if given.name == "module" {
            named(&text, callable).map(App::of_module)
        } else {
            App::of_file(&self.in_folder(&text), callable)
        };
        let Some(app) = app else {
            return Err(NotImported(format!(
                "{}: `{}` does not name a module\nhint: write `module = package.module:callable`",
                given.place, given.theirs
            )));
        };
        let App { name, folder, note } = &app;
        let treatment = if note.is_empty() { Taken } else { Approximated };
        self.remarks.add(&given.place, &given.theirs, treatment, format!("`app`: {}{note}", Json::from(name.as_str())));
        if folder.is_some() {
            self.by_default(&format!("the folder of {text}"), Taken, "`path`");
        }
        Ok(Some(app))
    }

    fn processes(&mut self) {
        let is_preloaded = self.is_on("master") && !self.is_on("lazy-apps");
        let is_taken = self.taken("processes", |import, value| {
            let workers = match value {
                Value::Cores => json!("auto"),
                value => value.count(1..=MOST_WORKERS).ok_or("it is no number of workers from 1 to 256")?,
            };
            import.wsgi.insert("workers".into(), workers);
            Ok((Taken, "`workers`".to_owned()))
        });
        if !is_taken {
            self.wsgi.insert("workers".into(), 1.into());
            self.by_default("processes = 1", Taken, "`workers`: 1; Ziggurat's own default is one for each core");
        }
        let mut has_threads = false;
        for option in ["gevent", "async"] {
            has_threads |= self.taken(option, |import, value| {
                let threads = value.number().ok_or("it is no number")?.clamp(1, MOST_GREENLETS);
                import.wsgi.insert("threads".into(), threads.into());
                Ok((
                    Approximated,
                    format!("`threads`: {threads}, in place of greenlets. An app that patches itself with gevent should not any more"),
                ))
            });
        }
        has_threads |= self.taken("threads", |import, value| {
            let threads = value.count(1..=MOST_THREADS).ok_or("it is no number of threads from 1 to 1024")?;
            import.wsgi.insert("threads".into(), threads);
            Ok((Taken, "`threads`".to_owned()))
        });
        if !has_threads {
            self.wsgi.insert("threads".into(), 1.into());
            self.by_default("threads = 1", Taken, "`threads`: 1; Ziggurat's own default is 4, if the app allows threads");
        }
        self.taken("harakiri", |import, value| {
            import.wsgi.insert("deadline".into(), value.seconds()?.into());
            Ok((
                Approximated,
                "`deadline`: the time to the head of the response; the client gets 504, and other requests of the worker go on".to_owned(),
            ))
        });
        if is_preloaded {
            self.wsgi.insert("preload".into(), true.into());
            self.by_default("import in the master", Taken, "`preload`: true; with `lazy-apps`, each worker imports the app");
        }
    }

    fn recycling(&mut self) {
        let mut recycle = Map::new();
        for (option, ours) in
            [("max-requests", "requests"), ("max-requests-delta", "jitter"), ("max-worker-lifetime", "age"), ("reload-on-rss", "memory")]
        {
            self.taken(option, |_, value| {
                let number = value.number().filter(|number| *number > 0).ok_or("it is no number above 0")?;
                if ours == "jitter" && !recycle.contains_key("requests") {
                    return Err("without `max-requests` it has no effect".to_owned());
                }
                let value = match ours {
                    "age" => json!(value.seconds()?),
                    "memory" => json!(format!("{number}MiB")),
                    _ => json!(number),
                };
                recycle.insert(ours.to_owned(), value);
                Ok((Taken, format!("`recycle.{ours}`")))
            });
        }
        if !recycle.is_empty() {
            self.wsgi.insert("recycle".into(), recycle.into());
        }
    }

    /// The path of a mount, which is empty for `/`, and its app.
    fn mounted(&self, given: &Given, callable: Option<&str>) -> Option<(String, App)> {
        let text = given.value.text()?;
        let (mount, app) = text.split_once('=')?;
        let mount = Some(mount.trim()).filter(|mount| mount.starts_with('/'))?.trim_end_matches('/').to_owned();
        let app = app.trim();
        // uWSGI loads nothing for a name without a callable.
        let app = if app.contains(':') {
            App::of_module(named(app, callable)?)
        } else {
            App::of_file(&self.in_folder(Some(app).filter(|app| app.ends_with(".py") || app.ends_with(".wsgi"))?), callable)?
        };
        Some((mount, app))
    }

    /// Options that say what holds here anyway.
    fn silent(&mut self) {
        for (option, note) in [
            ("master", "one process owns the listeners and watches the workers"),
            ("lazy-apps", "`preload`: each worker imports the app, unless `preload` is true"),
            ("enable-threads", "threads of apps run, always"),
            ("single-interpreter", "each worker has one interpreter"),
            ("vacuum", "files of Unix sockets are removed at the end"),
            ("die-on-term", "SIGTERM ends the server, after the drain"),
            ("need-app", "an app that cannot be imported fails the start"),
            ("strict", "unknown options are errors"),
            ("manage-script-name", "`mount` moves the prefix to SCRIPT_NAME"),
            ("py-callos-afterfork", "workers are whole Python processes"),
        ] {
            self.taken(option, |_, _| Ok((Taken, note.to_owned())));
        }
    }
}

/// An app, as the pipeline names it.
struct App {
    name: String,
    /// The folder that is searched for its module.
    folder: Option<String>,
    note: &'static str,
}

impl App {
    fn of_module(name: String) -> Self {
        Self { name, folder: None, note: "" }
    }

    /// The app of a file: its folder is searched for modules.
    fn of_file(text: &str, callable: Option<&str>) -> Option<Self> {
        let (folder, file) = text.rsplit_once('/').map_or((None, text), |(folder, file)| (Some(folder), file));
        let folder = folder.map(|folder| if folder.is_empty() { "/".to_owned() } else { folder.to_owned() });
        let (module, extension) = file.rsplit_once('.').unwrap_or((file, ""));
        let note =
            if extension == "py" { "" } else { "; Python imports files that end in `.py`: give the file such a name, or a link to it" };
        Some(Self { name: named(module, callable)?, folder, note })
    }
}

/// `module:callable`; without a callable, uWSGI uses `application`.
fn named(text: &str, callable: Option<&str>) -> Option<String> {
    let (module, own) = text.split_once(':').map_or((text, None), |(module, callable)| (module, Some(callable)));
    let callable = own.or(callable).unwrap_or("application").trim();
    let is_callable = callable.trim_end_matches("()").split('.').all(is_name);
    (module.trim().split('.').all(is_name) && is_callable).then(|| format!("{}:{callable}", module.trim()))
}
