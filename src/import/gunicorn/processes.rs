//! Workers, threads, time limits and what they run as.

use serde_json::{Value as Json, json};

use super::super::NotImported;
use super::super::draft::module_path;
use super::super::remarks::Treatment::{Approximated, Taken};
use super::super::value::Value;
use super::Import;

/// The most threads that stand for the greenlets of a worker.
const MOST_GREENLETS: u64 = 64;
/// The most worker processes of an app.
const MOST_WORKERS: u64 = 256;
/// The most threads of a worker.
const MOST_THREADS: u64 = 1024;

/// How gunicorn's workers serve requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// One request at a time.
    Sync,
    Threads,
    Greenlets,
}

impl Import {
    pub(super) fn processes(&mut self) -> Result<(), NotImported> {
        let class = self.class()?;
        self.workers();
        self.threads(class);
        self.times(class);
        self.recycling();
        self.folders();
        self.environment();
        self.taken("preload_app", |import, value| {
            switch(value, |on| {
                if on {
                    import.wsgi.insert("preload".into(), true.into());
                }
                if on { "`preload`: true" } else { "each worker imports the app, as by default" }
            })
        });
        self.identity();
        Ok(())
    }

    fn class(&mut self) -> Result<Class, NotImported> {
        let has_threads = self.settings.get("threads").is_some_and(|threads| threads.number().is_none_or(|threads| threads > 1));
        let usual = if has_threads { Class::Threads } else { Class::Sync };
        let Some(value) = self.settings.get("worker_class") else { return Ok(usual) };
        let name = value.plain_text().unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|known| name.contains(known));
        if is(&["uvicorn", "asgi", "hypercorn", "aiohttp", "quart", "daphne"]) {
            return Err(NotImported(format!(
                "the worker class `{name}` serves ASGI, and Ziggurat serves WSGI\nhint: let gunicorn run it, and pass requests on: `{{ \"app\": {{ \"proxy\": \"http://127.0.0.1:8000\" }} }}`"
            )));
        }
        let class = match name.rsplit('.').next().unwrap_or_default() {
            "sync" | "SyncWorker" => usual,
            "gthread" | "ThreadWorker" => Class::Threads,
            _ if is(&["gevent", "eventlet", "meinheld"]) => Class::Greenlets,
            _ => {
                self.taken("worker_class", |_, _| {
                    Err("there are no classes of workers: an app has `workers` with `threads` each".to_owned())
                });
                return Ok(usual);
            }
        };
        self.taken("worker_class", |_, _| match class {
            Class::Sync | Class::Threads => Ok((Taken, "an app has `workers` with `threads` each".to_owned())),
            Class::Greenlets => Ok((
                Approximated,
                "requests have threads, and no greenlets. An app that patches itself with gevent or eventlet should not any more"
                    .to_owned(),
            )),
        });
        Ok(class)
    }

    fn workers(&mut self) {
        let is_taken = self.taken("workers", |import, value| {
            let (workers, treatment, note) = match value {
                Value::Cores => (json!("auto"), Approximated, "`workers`: \"auto\": one for each core"),
                value if value.reference().is_some_and(|variable| variable.default == Some("auto")) => {
                    (text(value), Approximated, "`workers` is the variable, or else one for each core")
                }
                value if value.reference().is_some() => {
                    (value.count(1..=MOST_WORKERS).ok_or("its default is no number from 1 to 256")?, Taken, "`workers` is the variable")
                }
                value => match value.number() {
                    Some(0) => return Err("no worker would run: `workers` is left at 1".to_owned()),
                    Some(number) if number > MOST_WORKERS => (json!(MOST_WORKERS), Approximated, "`workers`: 256, the most"),
                    Some(number) => (json!(number), Taken, "`workers`"),
                    None => return Err("it is no number".to_owned()),
                },
            };
            import.wsgi.insert("workers".into(), workers);
            Ok((treatment, note.to_owned()))
        });
        if !is_taken {
            self.wsgi.insert("workers".into(), json!("${WEB_CONCURRENCY:-1}"));
            self.by_default("workers = 1", Taken, "`workers`: \"${WEB_CONCURRENCY:-1}\"; Ziggurat's own default is one for each core");
        }
    }

    fn threads(&mut self, class: Class) {
        if class == Class::Greenlets {
            self.taken("threads", |_, _| Err("workers with greenlets have no threads".to_owned()));
        }
        let connections = self.settings.get("worker_connections").and_then(Value::number).unwrap_or(1_000);
        let is_taken = self.taken("threads", |import, value| {
            let (threads, treatment, note) = if value.reference().is_some() {
                (value.count(1..=MOST_THREADS).ok_or("its default is no number of threads")?, Taken, "`threads` is the variable")
            } else {
                match value.number() {
                    Some(number @ 1..=MOST_THREADS) => (json!(number), Taken, "`threads`"),
                    Some(number) if number > 0 => (json!(MOST_THREADS), Approximated, "`threads`: 1024, the most"),
                    _ => return Err("it is no number of threads".to_owned()),
                }
            };
            import.wsgi.insert("threads".into(), threads);
            Ok((treatment, note.to_owned()))
        });
        match class {
            Class::Greenlets => {
                let threads = connections.clamp(1, MOST_GREENLETS);
                self.taken("worker_connections", |_, _| Ok((Approximated, format!("`threads`: {threads}, in place of greenlets"))));
                self.wsgi.insert("threads".into(), threads.into());
                self.by_default("greenlets", Approximated, &format!("`threads`: {threads}: change it to what the app waits for at once"));
            }
            _ if !is_taken => {
                self.wsgi.insert("threads".into(), 1.into());
                self.by_default("threads = 1", Taken, "`threads`: 1; Ziggurat's own default is 4, if the app allows threads");
            }
            _ => {}
        }
        self.taken("worker_connections", |_, _| Err("connections take up no worker: `server.max_connections` limits them".to_owned()));
    }

    fn times(&mut self, class: Class) {
        let unlimited = "gunicorn's `timeout` is no limit for requests of such workers, but for a worker that does not answer the master: `deadline` limits requests";
        let has_timeout = self.settings.get("timeout").is_some();
        self.taken("timeout", |import, value| match (value.number(), class) {
            (Some(0), _) => Ok((Taken, "there is no `deadline`, as by default".to_owned())),
            (_, Class::Threads | Class::Greenlets) => Err(unlimited.to_owned()),
            _ => {
                let time = value.seconds()?;
                import.wsgi.insert("deadline".into(), time.as_str().into());
                Ok((
                    Approximated,
                    format!(
                        "`deadline`: {}: the time to the head of the response; the client gets 504, and other requests go on{}",
                        Json::from(time),
                        if value.reference().is_some() {
                            ". With 0 in the variable, the server does not start: take `deadline` out then"
                        } else {
                            ""
                        }
                    ),
                ))
            }
        });
        if !has_timeout && class == Class::Sync {
            self.wsgi.insert("deadline".into(), "30s".into());
            self.by_default("timeout = 30", Approximated, "`deadline`: \"30s\": the time to the head of the response");
        }
        self.taken("graceful_timeout", |import, value| {
            let time = value.seconds()?;
            import.draft.server.insert("drain".into(), time.as_str().into());
            Ok((Taken, format!("`server.drain`: {}", Json::from(time))))
        });
        self.taken("keepalive", |import, value| {
            if class == Class::Sync {
                return Err("sync workers close every connection; here they stay open for `server.keep_alive`, 75 s".to_owned());
            }
            if value.number() == Some(0) {
                return Err("connections stay open for `server.keep_alive`, 75 s: they take up no worker".to_owned());
            }
            let time = value.seconds()?;
            import.draft.server.insert("keep_alive".into(), time.as_str().into());
            Ok((Taken, format!("`server.keep_alive`: {}", Json::from(time))))
        });
    }

    fn recycling(&mut self) {
        let is_on = self.settings.get("max_requests").is_some_and(|value| value.number() != Some(0));
        let has_jitter = self.settings.get("max_requests_jitter").is_some();
        self.taken("max_requests", |import, value| {
            if value.number() == Some(0) {
                return Ok((Taken, "workers are not replaced, as by default".to_owned()));
            }
            let requests = value
                .count(1..=u64::MAX)
                .ok_or("it is no number, or 0 where the variable is not set, and `recycle.requests` is 1 or more")?;
            import.wsgi.insert("recycle".into(), json!({ "requests": requests }));
            if has_jitter {
                return Ok((Taken, "`recycle.requests`".to_owned()));
            }
            Ok((Approximated, "`recycle.requests`, with a jitter of a tenth, so that workers are not replaced at once".to_owned()))
        });
        self.taken("max_requests_jitter", |import, value| {
            if !is_on {
                return Err("without `max_requests` it has no effect".to_owned());
            }
            let jitter = value.count(0..=u64::MAX).ok_or("it is no number")?;
            let recycle =
                import.wsgi.get_mut("recycle").and_then(Json::as_object_mut).ok_or("without `recycle.requests` it has no effect")?;
            recycle.insert("jitter".into(), jitter);
            Ok((Taken, "`recycle.jitter`".to_owned()))
        });
    }

    /// Where modules are, and where the app works.
    fn folders(&mut self) {
        // gunicorn searches the folder where it was started, too. That of an absolute one is not known.
        let mut path = Vec::new();
        self.taken("chdir", |import, value| {
            let folder = value.text().ok_or("it is no path")?;
            if matches!(folder.as_str(), "." | "./" | "") {
                return Ok((Taken, "it is the folder of the pipeline file, as by default".to_owned()));
            }
            import.wsgi.insert("chdir".into(), folder.as_str().into());
            path.push(folder.clone());
            import.working = Some(folder);
            Ok((Taken, "`chdir` and `path`; a relative path starts at the folder of the pipeline file".to_owned()))
        });
        if path.first().is_none_or(|folder| !folder.starts_with(['/', '$'])) {
            path.push(".".to_owned());
        }
        self.taken("pythonpath", |import, value| {
            for folder in value.items().iter().filter_map(Value::text) {
                path.insert(0, import.in_folder(&folder));
            }
            Ok((Taken, "`path`".to_owned()))
        });
        self.wsgi.extend(module_path(path).map(|path| ("path".to_owned(), path)));
        self.taken("tmp_upload_dir", |import, value| {
            let folder = value.text().ok_or("it is no path")?;
            import.draft.server.insert("spool".into(), json!({ "folder": import.in_folder(&folder) }));
            Ok((Taken, "`server.spool.folder`: bodies wait there".to_owned()))
        });
    }

    fn environment(&mut self) {
        let mut env = std::mem::take(&mut self.env);
        self.taken("raw_env", |_, value| {
            let items = if let Value::List(items) = value { items.clone() } else { vec![value.clone()] };
            let mut names = Vec::new();
            for item in &items {
                let variable = item.text().ok_or("a value is not known before it runs")?;
                let (name, value) = variable.split_once('=').ok_or("an item is not `NAME=value`")?;
                names.push(format!("`{name}`"));
                env.insert(name.to_owned(), value.into());
            }
            Ok((Taken, format!("`env`: {}", names.join(", "))))
        });
        if !env.is_empty() {
            self.wsgi.insert("env".into(), env.into());
        }
    }

    fn identity(&mut self) {
        for setting in ["user", "group"] {
            self.taken(setting, |import, value| {
                let name = value.text().ok_or("it is no name and no number")?;
                import.wsgi.insert(setting.into(), name.into());
                Ok((Taken, format!("`{setting}` of the app; `server.{setting}` makes the server itself this {setting}")))
            });
        }
        self.taken("initgroups", |_, _| Ok((Taken, "the supplementary groups are those of the user".to_owned())));
        self.taken("capture_output", |_, _| Ok((Taken, "what the app prints reaches the streams of the server".to_owned())));
        self.taken("enable_stdio_inheritance", |_, _| Ok((Taken, "workers have the streams of the server".to_owned())));
        self.taken("control_socket_disable", |_, _| Ok((Taken, "there is no control socket, as by default".to_owned())));
    }
}

/// A switch with its note.
fn switch(value: &Value, on: impl FnOnce(bool) -> &'static str) -> Result<(super::Treatment, String), String> {
    let truth = value.truth().ok_or("it is neither true nor false")?;
    Ok((Taken, on(truth).to_owned()))
}

/// A text of the pipeline file.
fn text(value: &Value) -> Json {
    value.text().map_or(Json::Null, Json::from)
}
