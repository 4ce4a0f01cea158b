//! Routes of Unit: steps with a match and an action.

use serde_json::{Map, Value as Json, json};

use super::Import;
use super::json::{Node, Value};
use super::tables::is_table;
use crate::import::remarks::Treatment::{Approximated, Dropped, Taken};
use crate::import::value::escaped;

/// How deep fallbacks may be nested.
const DEEPEST: usize = 8;

/// A stack: layers over an app.
struct Stack {
    layers: Vec<Json>,
    app: Json,
}

impl Import<'_> {
    /// A list of steps.
    pub(super) fn routes(&mut self, steps: &Node) -> Json {
        let mut routes: Vec<Json> = Vec::new();
        let mut is_open = true;
        for step in steps.items() {
            if !is_open {
                self.add(step, &step.written(), Dropped, "no request reaches this step: the one above takes all");
                continue;
            }
            let mut route = Map::new();
            let is_empty =
                |name: &&str| step.get("match").and_then(|conditions| conditions.get(name)).is_some_and(|list| list.items().is_empty());
            if let Some(name) = ["source", "destination"].into_iter().find(is_empty) {
                let note = format!("no request matches an empty list of `{name}`, here and in Unit: the step is left out");
                self.add(step, &step.written(), Dropped, note);
                continue;
            }
            if let Some(conditions) = step.get("match") {
                let refuses = step.get("action").and_then(|action| action.get("return")?.number()).is_some_and(|status| status >= 400);
                let (condition, missing) = self.condition(conditions, refuses);
                if !condition.is_empty() {
                    route.insert("match".into(), condition.into());
                }
                if !missing.is_empty() {
                    // Without it, the steps below would get requests that this one has refused.
                    let missing = missing.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ");
                    let which = if route.is_empty() { "all requests that come so far" } else { "requests that match the rest of it" };
                    let note =
                        format!("the step is closed: a route has no counterpart of {missing}, so {which} get 503. Write the route by hand");
                    self.add(step, &step.written(), Dropped, note);
                    is_open = route.contains_key("match");
                    route.insert("app".into(), json!({ "respond": 503 }));
                    routes.push(route.into());
                    continue;
                }
            }
            let Some(action) = step.get("action") else { continue };
            let below = step.get("match").and_then(|conditions| conditions.get("uri")).and_then(folder_of_paths);
            let stack = self.action(action, below, 0);
            is_open = route.contains_key("match");
            if !stack.layers.is_empty() {
                route.insert("layers".into(), stack.layers.into());
            }
            route.insert("app".into(), stack.app);
            routes.push(route.into());
        }
        if routes.is_empty() {
            return json!({ "respond": 404 });
        }
        json!({ "routes": routes })
    }

    /// `below` is the folder that all paths of the step are in.
    fn action(&mut self, action: &Node, below: Option<&str>, depth: usize) -> Stack {
        let mut layers = Vec::new();
        for (name, value) in action.entries() {
            match name.as_str() {
                "rewrite" => self.rewrite(value, &mut layers),
                "response_headers" if action.get("pass").and_then(Node::text).is_some_and(is_table) => {
                    self.dropped(
                        value,
                        "response_headers",
                        "in Unit, the action that responds says which are sent, and this one passes to other routes",
                    );
                }
                "response_headers" => self.response_headers(value, action.get("fallback").is_some(), &mut layers),
                _ => {}
            }
        }
        let app = if let Some(pass) = action.get("pass") {
            match pass.text().filter(|pass| !pass.contains('$')) {
                Some(target) => {
                    let is_rewritten = layers.iter().any(|layer| layer.get("rewrite").is_some());
                    self.passed(pass, target, is_rewritten)
                }
                None => {
                    self.dropped(pass, "pass", "a route has one app, and variables do not choose it: requests get 404");
                    json!({ "respond": 404 })
                }
            }
        } else if let Some(share) = action.get("share") {
            let below = below.filter(|_| action.get("rewrite").is_none());
            return self.share(action, share, layers, below, depth);
        } else if let Some(to) = action.get("proxy") {
            let address = to.text().unwrap_or_default();
            let address = address.strip_prefix("http://unix:").map_or_else(|| address.to_owned(), |path| format!("unix:{path}"));
            self.add(to, &format!("proxy = {}", to.written()), Taken, "app `proxy`");
            json!({ "proxy": escaped(&address) })
        } else if let Some(status) = action.get("return") {
            self.fixed(action, status)
        } else {
            self.add(action, &action.written(), Dropped, "it names nothing that could respond: requests get 404");
            json!({ "respond": 404 })
        };
        Stack { layers, app }
    }

    /// `return`, with or without `location`.
    fn fixed(&mut self, action: &Node, status: &Node) -> Json {
        let number = status.number().unwrap_or_default();
        let theirs = format!("return = {}", status.written());
        if let Some(location) = action.get("location") {
            let to =
                location.text().and_then(|text| gaps(text, &[("host", "{host}"), ("request_uri", "{path}{query}"), ("uri", "{path}")]));
            match to.filter(|to| matches!(number, 301 | 302 | 303 | 307 | 308) && (to.starts_with('/') || to.starts_with("http"))) {
                Some(to) => {
                    self.add(status, &theirs, Taken, "app `redirect`");
                    self.add(location, &format!("location = {}", location.written()), Taken, "`redirect.to`");
                    return json!({ "redirect": { "to": to, "status": number } });
                }
                None => self.dropped(
                    location,
                    "location",
                    "`redirect` takes an address with $host, $uri and $request_uri, and the statuses 301, 302, 303, 307 and 308",
                ),
            }
        }
        if (200..=599).contains(&number) {
            self.add(status, &theirs, Taken, "app `respond`");
            return json!({ "respond": number });
        }
        self.add(status, &theirs, Approximated, "app `respond` with 404: statuses are 200 to 599");
        json!({ "respond": 404 })
    }

    /// Files, the first of several folders that has them, and what serves other requests.
    fn share(&mut self, action: &Node, share: &Node, mut layers: Vec<Json>, below: Option<&str>, depth: usize) -> Stack {
        let symlinks = if action.get("follow_symlinks").and_then(Node::truth) == Some(false) { Some("never") } else { None };
        let index = action.get("index").and_then(Node::text);
        let (mut folders, mut file) = (Vec::new(), None);
        let has_fallback = action.get("fallback").is_some();
        if let Some(types) = action.get("types") {
            // Files of other types may be the source code of an app.
            let instead = if has_fallback { "all requests get the fallback" } else { "requests get 503" };
            self.dropped(types, "types", format!("the files are not served, because `static` does not select types: {instead}"));
            for item in share.items() {
                self.add(item, &format!("share = {}", item.written()), Dropped, "it is not served, because it has `types`");
            }
        }
        let shares = if action.get("types").is_some() { &[] } else { share.items() };
        for (at, item) in shares.iter().enumerate() {
            let theirs = format!("share = {}", item.written());
            let is_last = at + 1 == shares.len() && !has_fallback;
            let text = item.text().unwrap_or_default().replace("${uri}", "$uri");
            match text.strip_suffix("$uri").filter(|folder| !folder.contains('$')) {
                Some(folder) => {
                    let folder = folder.trim_end_matches('/');
                    let prefix = below.unwrap_or_default();
                    let root = format!("{folder}{prefix}");
                    let root = if root.is_empty() { "/" } else { &root };
                    let mut options = json!({ "at": below.unwrap_or("/"), "root": escaped(root) });
                    if let Some(index) = index {
                        options["index"] = escaped(index).into();
                    }
                    if let Some(symlinks) = symlinks {
                        options["symlinks"] = symlinks.into();
                    }
                    folders.push(json!({ "static": options }));
                    self.add(
                        item,
                        &theirs,
                        Approximated,
                        "`static`: files and folders whose names begin with a dot are left out, and so are links that leave the folder",
                    );
                }
                None => match text.rsplit_once('/').filter(|(_, name)| is_last && !text.contains('$') && is_plain(name)) {
                    Some((folder, name)) => {
                        let root = if folder.is_empty() { "/" } else { folder };
                        file = Some((
                            json!({ "rewrite": { "regex": ".*", "to": format!("/{name}") } }),
                            json!({ "static": { "at": "/", "root": root } }),
                        ));
                        self.add(item, &theirs, Taken, "layer `rewrite` over `static`: one file for all paths");
                    }
                    None => self.add(
                        item,
                        &theirs,
                        Dropped,
                        "`static` serves a folder, and the last entry may be a file: paths end in `$uri`, and have no other variable",
                    ),
                },
            }
        }
        for (name, value) in action.entries() {
            match name.as_str() {
                "index" | "follow_symlinks" => {
                    let ours = if name == "index" { "`static.index`" } else { "`static.symlinks`" };
                    self.add(value, &format!("{name} = {}", value.written()), Taken, ours);
                }
                "chroot" => self.dropped(value, "chroot", "`static` never leaves its folder"),
                "traverse_mounts" => self.dropped(value, "traverse_mounts", "file systems that are mounted below the folder are served"),
                _ => {}
            }
        }
        if let Some(fallback) = action.get("fallback").filter(|_| depth < DEEPEST) {
            let inner = self.action(fallback, below, depth + 1);
            layers.extend(folders);
            layers.extend(inner.layers);
            return Stack { layers, app: inner.app };
        }
        if let Some((rewrite, app)) = file {
            layers.extend(folders);
            layers.push(rewrite);
            return Stack { layers, app };
        }
        let status = if shares.is_empty() { 503 } else { 404 };
        let app = folders.pop().unwrap_or_else(|| json!({ "respond": status }));
        layers.extend(folders);
        Stack { layers, app }
    }

    fn rewrite(&mut self, value: &Node, layers: &mut Vec<Json>) {
        let to = value
            .text()
            .and_then(|text| gaps(text, &[("uri", "{path}"), ("request_uri", "{path}{query}")]))
            .filter(|to| to.starts_with('/'));
        match to {
            Some(to) => {
                layers.push(json!({ "rewrite": { "regex": ".*", "to": to } }));
                self.add(value, &format!("rewrite = {}", value.written()), Taken, "layer `rewrite`");
            }
            None => self.dropped(value, "rewrite", "layer `rewrite` takes a path with $uri"),
        }
    }

    fn response_headers(&mut self, value: &Node, has_fallback: bool, layers: &mut Vec<Json>) {
        let (treatment, also) = if has_fallback { (Approximated, "; responses of the fallback have it, too") } else { (Taken, "") };
        let (mut set, mut remove) = (Map::new(), Vec::new());
        for (name, header) in value.entries() {
            let theirs = format!("response_headers/{name} = {}", header.written());
            match &header.value {
                Value::Text(text) if !text.contains('$') => {
                    // Braces are names of parts of the path.
                    set.insert(name.clone(), text.replace('{', "{{").replace('}', "}}").into());
                    self.add(header, &theirs, treatment, format!("`headers.response.set`{also}"));
                }
                Value::Null => {
                    remove.push(name.as_str());
                    self.add(header, &theirs, treatment, format!("`headers.response.remove`{also}"));
                }
                _ => self.add(header, &theirs, Dropped, "the layer `headers` sets fixed values"),
            }
        }
        let mut response = Map::new();
        if !set.is_empty() {
            response.insert("set".into(), set.into());
        }
        if !remove.is_empty() {
            response.insert("remove".into(), json!(remove));
        }
        if !response.is_empty() {
            layers.push(json!({ "headers": { "response": response } }));
        }
    }
}

/// A text whose variables are gaps of ours; none if it has others.
fn gaps(text: &str, known: &[(&str, &str)]) -> Option<String> {
    if text.contains(['{', '}']) && !text.contains("${") {
        return None;
    }
    let mut ours = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        ours.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix('{') {
            Some(inside) => inside.find('}').map(|end| (&inside[..end], end + 2))?,
            None => {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        ours.push_str(known.iter().find(|(variable, _)| *variable == name)?.1);
        rest = &after[end..];
    }
    ours.push_str(rest);
    Some(ours)
}

/// The folder that every path is in, if there is one pattern that says so: `/static/*`.
fn folder_of_paths(uri: &Node) -> Option<&str> {
    let [pattern] = uri.items() else { return None };
    let folder = pattern.text()?.strip_suffix("/*")?;
    (folder.starts_with('/') && folder[1..].split('/').all(is_plain)).then_some(folder)
}

/// Whether a name means the same in a path and in a URL.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet))
}
