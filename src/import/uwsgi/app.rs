//! The app, or several of them, and its processes.

use serde_json::{Map, Value as Json, json};

use super::super::NotImported;
use super::super::draft::one_or_many;
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
        let main = self.main_app()?;
        self.processes();
        self.recycling();
        self.folders();
        self.silent();
        let mut routes = Vec::new();
        for given in self.take_all("mount") {
            match mounted(&given) {
                Some((mount, app)) => {
                    self.remarks.add(&given.place, &given.theirs, Approximated, "`mount` of a route; each app has workers of its own");
                    let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(app))]);
                    wsgi.extend(self.wsgi.clone().into_iter().filter(|(name, _)| name != "app"));
                    routes.push(json!({ "mount": mount, "app": { "wsgi": wsgi } }));
                }
                None => self.remarks.add(&given.place, &given.theirs, Dropped, "it is no `/path=module:callable` or `/path=file.py`"),
            }
        }
        if main.is_none() && routes.is_empty() {
            let hint = "`module`, `wsgi-file` or `mount` names it; what Paste, Pecan and emperors load is imported by itself";
            return Err(NotImported(format!("no app is named\nhint: {hint}")));
        }
        if let Some(app) = main {
            let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(app))]);
            wsgi.append(&mut self.wsgi);
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

    fn main_app(&mut self) -> Result<Option<String>, NotImported> {
        let callable = self.get("callable").and_then(Value::text);
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
        let app = if given.name == "module" { named(&text, callable.as_deref()) } else { self.of_file(&text, callable.as_deref()) };
        let Some(app) = app else {
            return Err(NotImported(format!(
                "{}: `{}` does not name a module\nhint: write `module = package.module:callable`",
                given.place, given.theirs
            )));
        };
        self.remarks.add(&given.place, &given.theirs, Taken, format!("`app`: {}", Json::from(app.as_str())));
        self.taken("callable", |_, _| Ok((Taken, "`app`".to_owned())));
        Ok(Some(app))
    }

    /// The app of a file: its folder is searched for modules.
    fn of_file(&mut self, text: &str, callable: Option<&str>) -> Option<String> {
        let (folder, name) = text.rsplit_once('/').map_or((None, text), |(folder, name)| (Some(folder), name));
        let module = name.strip_suffix(".py").or_else(|| name.strip_suffix(".wsgi"))?;
        if let Some(folder) = folder {
            self.given.push(Given {
                name: "pythonpath".to_owned(),
                value: Value::Text(folder.to_owned()),
                place: super::Place::default(),
                theirs: format!("the folder of {name}"),
                is_used: false,
            });
        }
        named(module, callable)
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

    fn folders(&mut self) {
        let mut path: Vec<Json> = Vec::new();
        for option in ["chdir", "chdir2"] {
            self.taken(option, |import, value| {
                let folder = value.text().ok_or("it is no path")?;
                if matches!(folder.trim_end_matches('/'), "" | ".") && folder != "/" {
                    return Ok((Taken, "it is the folder of the pipeline file, as by default".to_owned()));
                }
                import.wsgi.insert("chdir".into(), folder.as_str().into());
                path.push(folder.into());
                Ok((Taken, "`chdir` and `path`".to_owned()))
            });
        }
        for given in self.take_all("pythonpath") {
            match given.value.text() {
                Some(folder) => {
                    path.push(folder.into());
                    self.remarks.add(&given.place, &given.theirs, Taken, "`path`");
                }
                None => self.remarks.add(&given.place, &given.theirs, Dropped, "it is not known before uWSGI starts"),
            }
        }
        if let Some(path) = one_or_many(path) {
            self.wsgi.insert("path".into(), path);
        }
        let mut env = Map::new();
        for given in self.take_all("env") {
            match given.value.text().as_deref().and_then(|text| text.split_once('=')) {
                Some((name, value)) => {
                    self.remarks.add(&given.place, &given.theirs, Taken, format!("`env`: `{}`", name.trim()));
                    env.insert(name.trim().to_owned(), value.into());
                }
                None => self.remarks.add(&given.place, &given.theirs, Dropped, "it is no `NAME=value` that is known before uWSGI starts"),
            }
        }
        if !env.is_empty() {
            self.wsgi.insert("env".into(), env.into());
        }
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

/// `module:callable`; without a callable, uWSGI uses `application`.
fn named(text: &str, callable: Option<&str>) -> Option<String> {
    let (module, own) = text.split_once(':').map_or((text, None), |(module, callable)| (module, Some(callable)));
    let callable = own.or(callable).unwrap_or("application").trim();
    let is_callable = callable.trim_end_matches("()").split('.').all(is_name);
    (module.trim().split('.').all(is_name) && is_callable).then(|| format!("{}:{callable}", module.trim()))
}

fn mounted(given: &Given) -> Option<(String, String)> {
    let text = given.value.text()?;
    let (mount, app) = text.split_once('=')?;
    let mount = mount.trim().trim_end_matches('/');
    let app = app.trim();
    let app = match app.strip_suffix(".py") {
        Some(file) => named(file, None)?,
        None => named(app, None)?,
    };
    (mount.starts_with('/') && mount.len() > 1).then(|| (mount.to_owned(), app))
}
