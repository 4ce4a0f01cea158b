//! Applications of Unit as `wsgi` apps.

use serde_json::{Map, Value as Json, json};

use super::Import;
use super::json::{Node, Value};
use crate::import::remarks::Treatment::{Approximated, Dropped, Taken};
use crate::import::value::escaped;

impl Import<'_> {
    /// An application, or one of its targets.
    pub(super) fn application(&mut self, name: &str, app: &Node, target: Option<&str>) -> Json {
        let name = &target.map_or_else(|| name.to_owned(), |target| format!("{name}/targets/{target}"));
        let kind = app.get("type").and_then(Node::text).unwrap_or_default();
        let theirs = format!("applications/{name}/type = {kind:?}");
        let line = app.get("type").unwrap_or(app);
        let is_asgi = app.get("protocol").and_then(Node::text) == Some("asgi");
        match kind.split_whitespace().next().unwrap_or_default() {
            "python" if is_asgi => {
                self.add(line, &theirs, Dropped, "ASGI is not served: requests get 503. Run it under its own server, with a `proxy` here");
                self.belongs(name, app, &[], "it belongs to the server of the app");
                json!({ "respond": 503 })
            }
            "python" => {
                let note = "app `wsgi`; the Python is that of the virtual environment";
                self.add(line, &theirs, Taken, note);
                self.python(name, app, target)
            }
            "php" => {
                let place = target.and_then(|target| app.get("targets")?.get(target)).unwrap_or(app);
                let text = |option: &str| place.get(option).and_then(Node::text).map(escaped);
                let mut options = json!({ "to": "unix:/run/php/php-fpm.sock", "root": text("root") });
                if let Some(index) = text("index") {
                    options["index"] = index.into();
                }
                self.add(line, &theirs, Approximated, "app `fastcgi`: run PHP-FPM, and write its address in place of the usual one");
                self.belongs(name, app, &["root", "index", "script"], "it belongs into the pool of PHP-FPM");
                match text("script") {
                    Some(script) => json!({
                        "layers": [{ "rewrite": { "regex": ".*", "to": format!("/{}", script.trim_start_matches('/')) } }],
                        "app": { "fastcgi": options }
                    }),
                    None => json!({ "fastcgi": options }),
                }
            }
            _ => {
                self.add(
                    line,
                    &theirs,
                    Dropped,
                    "apps in this language are not run: requests get 503. Run it under its own server, with a `proxy` here",
                );
                self.belongs(name, app, &[], "it belongs to the server of the app");
                json!({ "respond": 503 })
            }
        }
    }

    fn python(&mut self, name: &str, app: &Node, target: Option<&str>) -> Json {
        let named = target.and_then(|target| app.get("targets")?.get(target));
        if named.is_some() {
            self.add(app, &format!("applications/{name}"), Approximated, "each target is a `wsgi` app with workers of its own");
        }
        let place = named.unwrap_or(app);
        let is_factory = place.get("factory").and_then(Node::truth) == Some(true);
        let Some((line, module)) = place.get("module").and_then(|module| Some((module, module.text()?))) else {
            self.add(place, &format!("applications/{name}"), Dropped, "it names no `module`: requests get 503");
            return json!({ "respond": 503 });
        };
        let callable = place.get("callable").and_then(Node::text).unwrap_or("application");
        let call = if is_factory { "()" } else { "" };
        let mut wsgi = Map::from_iter([("app".to_owned(), Json::from(escaped(&format!("{module}:{callable}{call}"))))]);
        self.add(line, &format!("applications/{name}/module = {module:?}"), Taken, format!("`app`: \"{module}:{callable}{call}\""));
        wsgi.insert("workers".into(), 1.into());
        wsgi.insert("threads".into(), 1.into());
        let options = app.entries().iter().filter(|(name, _)| name != "targets");
        let of_target = named.map(Node::entries).unwrap_or_default();
        for (option, value) in options.chain(of_target) {
            self.option(name, option, value, &mut wsgi);
        }
        // Unit changes the folder before it starts Python.
        if let Some(folder) = wsgi.get("chdir").and_then(Json::as_str).map(|folder| folder.trim_end_matches('/').to_owned()) {
            for path in wsgi.get_mut("path").into_iter().flat_map(|path| match path {
                Json::Array(paths) => paths.iter_mut().collect(),
                path => vec![path],
            }) {
                if let Some(relative) = path.as_str().filter(|path| !path.starts_with('/')) {
                    *path = format!("{folder}/{relative}").into();
                }
            }
        }
        for option in ["processes", "threads"] {
            if app.get(option).is_none() {
                self.remarks.add(
                    &super::Place::default(),
                    &format!("applications/{name}/{option} = 1"),
                    Taken,
                    "1, as Unit has it; Ziggurat's own default is larger",
                );
            }
        }
        let prefix = place.get("prefix").or_else(|| app.get("prefix"));
        let text = prefix.and_then(Node::text).map(|prefix| prefix.trim_end_matches('/'));
        match text.filter(|prefix| !prefix.is_empty()) {
            Some(text) => {
                let line = prefix.unwrap_or(place);
                let prefix = text;
                let prefix = if prefix.starts_with('/') { prefix.to_owned() } else { format!("/{prefix}") };
                self.add(
                    line,
                    &format!("applications/{name}/prefix = {prefix:?}"),
                    Approximated,
                    "`mount` of a route; other paths get 404, where Unit passes them on unchanged",
                );
                json!({ "routes": [{ "mount": escaped(&prefix), "app": { "wsgi": wsgi } }] })
            }
            None => json!({ "wsgi": wsgi }),
        }
    }

    /// Says of the options of an app that another program runs which of them are taken, and what becomes of the others.
    fn belongs(&mut self, name: &str, app: &Node, taken: &[&str], note: &str) {
        for (option, value) in app.entries().iter().filter(|(option, _)| option != "type") {
            if let ("targets", Value::Object(targets)) = (option.as_str(), &value.value) {
                targets.iter().for_each(|(target, value)| self.belongs(&format!("{name}/{target}"), value, taken, note));
                continue;
            }
            let theirs = setting(name, option, value);
            match taken.contains(&option.as_str()) {
                true => self.add(value, &theirs, Taken, format!("`{option}` of the app, or of `rewrite` above it")),
                false => self.add(value, &theirs, Dropped, note),
            }
        }
    }

    fn option(&mut self, app: &str, option: &str, value: &Node, wsgi: &mut Map<String, Json>) {
        let theirs = setting(app, option, value);
        let text = value.text().map(escaped);
        match (option, text) {
            ("type" | "module" | "prefix", _) => {}
            ("callable" | "factory", _) => self.add(value, &theirs, Taken, "`app`"),
            ("protocol", _) => self.add(value, &theirs, Taken, "WSGI is what is served"),
            ("path", _) => {
                let folders: Vec<Json> = value.items().iter().filter_map(Node::text).map(|folder| escaped(folder).into()).collect();
                if let Some(path) = super::one_or_many(folders) {
                    wsgi.insert("path".into(), path);
                    self.add(value, &theirs, Taken, "`path`");
                }
            }
            ("working_directory", Some(folder)) => {
                wsgi.insert("chdir".into(), folder.into());
                self.add(value, &theirs, Taken, "`chdir`");
            }
            ("user" | "group", Some(who)) => {
                wsgi.insert(option.into(), who.into());
                self.add(value, &theirs, Taken, format!("`{option}` of the app"));
            }
            ("home", _) => {
                self.add(value, &theirs, Dropped, "the variable VIRTUAL_ENV of the server names the virtual environment, for all apps")
            }
            ("threads", _) => match value.number() {
                Some(threads @ 1..=1024) => {
                    wsgi.insert("threads".into(), threads.into());
                    self.add(value, &theirs, Taken, "`threads`");
                }
                _ => self.add(value, &theirs, Dropped, "it is no number of threads from 1 to 1024"),
            },
            ("processes", _) => self.processes(&theirs, value, wsgi),
            ("environment", _) => {
                let variables: Map<String, Json> =
                    value.entries().iter().filter_map(|(name, value)| Some((name.clone(), escaped(value.text()?).into()))).collect();
                self.add(
                    value,
                    &theirs,
                    Taken,
                    format!("`env`: {}", variables.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
                );
                wsgi.insert("env".into(), variables.into());
            }
            ("limits", _) => {
                for (name, limit) in value.entries() {
                    self.limit(app, name, limit, wsgi);
                }
            }
            ("stdout" | "stderr", _) => self.add(value, &theirs, Dropped, "what apps print reaches the streams of the server"),
            ("isolation", _) => self.add(value, &theirs, Dropped, "workers are not put into namespaces: let systemd or a container do it"),
            _ => self.add(value, &theirs, Dropped, "there is no counterpart"),
        }
    }

    fn processes(&mut self, theirs: &str, value: &Node, wsgi: &mut Map<String, Json>) {
        let most = value.get("max").unwrap_or(value);
        let is_dynamic = matches!(value.value, Value::Object(_));
        match most.number().or(is_dynamic.then_some(1)) {
            Some(workers @ 1..=256) => {
                wsgi.insert("workers".into(), workers.into());
                let (treatment, note) = if is_dynamic {
                    (Approximated, format!("`workers`: {workers}, `max` of Unit: their number does not change"))
                } else {
                    (Taken, "`workers`".to_owned())
                };
                self.add(value, theirs, treatment, note);
            }
            _ => self.add(value, theirs, Dropped, "it is no number of workers from 1 to 256"),
        }
    }

    fn limit(&mut self, app: &str, name: &str, value: &Node, wsgi: &mut Map<String, Json>) {
        let theirs = format!("applications/{app}/limits/{name} = {}", value.written());
        match (name, value.number().filter(|number| *number > 0)) {
            ("timeout", Some(seconds)) => {
                wsgi.insert("deadline".into(), format!("{seconds}s").into());
                self.add(value, &theirs, Approximated, "`deadline`: the client gets 504, where Unit answers 503");
            }
            ("requests", Some(requests)) => {
                wsgi.insert("recycle".into(), json!({ "requests": requests }));
                self.add(value, &theirs, Approximated, "`recycle.requests`, with a jitter of a tenth");
            }
            _ => self.add(value, &theirs, Dropped, "there is no counterpart"),
        }
    }
}

/// An option as it is written. The values of variables may be secrets.
fn setting(app: &str, option: &str, value: &Node) -> String {
    if option == "environment" {
        return format!("applications/{app}/environment");
    }
    format!("applications/{app}/{option} = {}", value.written())
}
