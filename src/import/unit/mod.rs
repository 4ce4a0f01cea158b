//! NGINX Unit: its configuration as JSON, as `curl --unix-socket ... http://localhost/config` prints it.

mod applications;
mod conditions;
mod json;
mod listeners;
mod log_format;
mod routes;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::draft::{Draft, one_or_many};
use super::remarks::Treatment::{self, Approximated, Dropped, Taken};
use super::remarks::{Place, Remarks};
use super::value::escaped;
use super::{Imported, NotImported};
use json::{Node, Value};
use tables::{Table, unmarked};

/// Unit's own limit of a request's body.
const DEFAULT_BODY: &str = "8MiB";

/// Imports a configuration.
pub(super) fn config(file: &str, text: &str) -> Result<Imported, NotImported> {
    let root = json::parse(text).map_err(|error| NotImported(format!("{file}: {error}")))?;
    // The control API prints the configuration below this key, beside certificates.
    let whole = &root;
    let root = whole.get("config").filter(|_| whole.get("listeners").is_none()).unwrap_or(whole);
    let mut remarks = Remarks::default();
    for (name, value) in whole.entries().iter().filter(|(name, _)| !std::ptr::eq(root, whole) && name != "config") {
        remarks.add(&Place::new(file, value.line), &format!("{name} = ..."), Dropped, "it is no part of the configuration");
    }
    Import {
        file,
        root,
        remarks,
        draft: Draft::default(),
        wanted: Vec::new(),
        names: BTreeMap::new(),
        order: Vec::new(),
        table: None,
        forwarded: None,
    }
    .run()
}

struct Import<'a> {
    file: &'a str,
    root: &'a Node,
    remarks: Remarks,
    draft: Draft,
    /// What `pass` names and is not written yet.
    wanted: Vec<String>,
    /// The names in `apps` of what `pass` names.
    names: BTreeMap<String, String>,
    /// The same, in the order in which they have got them.
    order: Vec<String>,
    /// The table of routes that is being written.
    table: Option<Table>,
    /// The layer that believes proxies.
    forwarded: Option<(Json, Vec<&'static str>)>,
}

impl<'a> Import<'a> {
    fn run(mut self) -> Result<Imported, NotImported> {
        let root = self.root;
        let listeners = root.get("listeners").map(Node::entries).unwrap_or_default();
        let first = listeners.iter().find_map(|(_, listener)| listener.get("pass")?.text());
        let Some(first) = first else {
            return Err(NotImported(format!(
                "`{}` has no listener that passes requests on\nhint: save the configuration with `curl --unix-socket /var/run/control.unit.sock http://localhost/config`",
                self.file
            )));
        };
        for (address, listener) in listeners {
            self.listener(address, listener, first);
        }
        self.draft.app = self.target(first).into();
        for (name, value) in root.entries() {
            match name.as_str() {
                "settings" => self.settings(value),
                "access_log" => self.access_log(value),
                "listeners" | "routes" | "applications" | "upstreams" => {}
                _ => self.dropped(value, name, "there is no counterpart"),
            }
        }
        if root.get("settings").and_then(|settings| settings.get("http")?.get("max_body_size")).is_none() {
            self.remarks.add(
                &Place::default(),
                "settings/http/max_body_size = 8388608",
                Taken,
                format!("layer `body_limit`: \"{DEFAULT_BODY}\""),
            );
            self.draft.layers.push(json!({ "body_limit": DEFAULT_BODY }));
        }
        match self.forwarded.take() {
            Some((options, read)) => self.draft.believe(0, options, &read),
            None => {
                let note = "apps see them only below a layer `forwarded`: add `{ \"forwarded\": { \"trust\": \"ADDRESS OF THE PROXY\" } }` behind a proxy";
                self.remarks.add(&Place::default(), "X-Forwarded-*", Dropped, note);
            }
        }
        let mut done = BTreeSet::new();
        while let Some(target) = self.wanted.pop() {
            if done.insert(target.clone()) {
                let app = self.app(&target)?;
                let name = self.target(&target);
                self.draft.apps.insert(name, app);
            }
        }
        self.unused(&done);
        Ok(Imported { pipeline: self.draft.text(), remarks: self.remarks.sorted() })
    }

    fn add(&mut self, node: &Node, theirs: &str, treatment: Treatment, note: impl Into<String>) {
        self.remarks.add(&Place::new(self.file, node.line), theirs, treatment, note);
    }

    fn dropped(&mut self, node: &Node, name: &str, note: impl Into<String>) {
        self.add(node, &format!("{name} = {}", node.written()), Dropped, note);
    }

    /// The name in `apps` of what `pass` names; it will be written.
    fn target(&mut self, pass: &str) -> String {
        if let Some(name) = self.names.get(pass) {
            return name.clone();
        }
        let (bare, is_again) = unmarked(pass);
        let mut base = match bare.split_once('/') {
            Some(("applications", name)) => decoded(name),
            _ => decoded(bare),
        };
        if is_again {
            base.push_str("_again");
        }
        let plain: String = base.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }).collect();
        let mut name = plain.clone();
        let mut number = 2;
        while name.is_empty() || name == "routes" || self.names.values().any(|known| *known == name) {
            name = if plain == "routes" && number == 2 { "site".to_owned() } else { format!("{plain}_{number}") };
            number += 1;
        }
        self.names.insert(pass.to_owned(), name.clone());
        self.order.push(pass.to_owned());
        self.wanted.push(pass.to_owned());
        name
    }

    /// What `pass` names.
    fn app(&mut self, pass: &str) -> Result<Json, NotImported> {
        let root = self.root;
        let mut parts = unmarked(pass).0.split('/').map(decoded);
        let (kind, name, part) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let missing = || NotImported(format!("`pass` names `{pass}`, which `{}` does not have", self.file));
        let found = root.get(&kind).ok_or_else(missing)?;
        let found = match (&name, &found.value) {
            (Some(name), Value::Object(_)) => found.get(name).ok_or_else(missing)?,
            (None, Value::List(_)) => found,
            _ => return Err(missing()),
        };
        match kind.as_str() {
            "routes" => Ok(self.table(pass, found)),
            "applications" => Ok(self.application(&name.unwrap_or_default(), found, part.as_deref())),
            "upstreams" => Ok(self.upstream(found)),
            _ => Err(missing()),
        }
    }

    /// Applications and routes that nothing passes requests to.
    fn unused(&mut self, done: &BTreeSet<String>) {
        let root = self.root;
        let used: BTreeSet<(String, String)> = done
            .iter()
            .filter_map(|pass| {
                let mut parts = pass.split('/').map(decoded);
                Some((parts.next()?, parts.next()?))
            })
            .collect();
        for kind in ["routes", "applications", "upstreams"] {
            for (name, value) in root.get(kind).map(Node::entries).unwrap_or_default() {
                if !used.contains(&(kind.to_owned(), name.clone())) {
                    self.add(value, &format!("{kind}/{name}"), Dropped, "nothing in the pipeline passes requests to it");
                }
            }
        }
    }

    fn settings(&mut self, settings: &Node) {
        for (name, value) in settings.entries() {
            if name != "http" {
                self.dropped(value, &format!("settings/{name}"), "there is no counterpart");
                continue;
            }
            for (name, value) in value.entries() {
                self.http(name, value);
            }
        }
    }

    fn http(&mut self, name: &str, value: &Node) {
        let theirs = format!("settings/http/{name} = {}", value.written());
        let time = value.number().filter(|time| *time > 0).map(|time| format!("{time}s"));
        let option = match name {
            "header_read_timeout" => "header_timeout",
            "body_read_timeout" | "send_timeout" => "body_timeout",
            "idle_timeout" => "keep_alive",
            "max_body_size" => {
                let Some(octets) = value.number() else { return self.add(value, &theirs, Dropped, "it is no size") };
                let text = size(octets);
                self.add(value, &theirs, Taken, format!("layer `body_limit`: \"{text}\""));
                return self.draft.layers.push(json!({ "body_limit": text }));
            }
            "static" => return self.add(value, &theirs, Dropped, "types come from a list of the server"),
            "discard_unsafe_fields" => {
                return self.add(value, &theirs, Dropped, "headers with underscores and the like are always dropped");
            }
            "server_version" => return self.add(value, &theirs, Dropped, "responses do not name the server"),
            "chunked_transform" => return self.add(value, &theirs, Taken, "apps know the length of every body, as by default"),
            "log_route" => return self.add(value, &theirs, Dropped, "the log does not have the routes of requests"),
            _ => return self.add(value, &theirs, Dropped, "there is no counterpart"),
        };
        let Some(time) = time else { return self.add(value, &theirs, Dropped, "it is no number of seconds") };
        if self.draft.server.contains_key(option) {
            return self.add(value, &theirs, Dropped, format!("`server.{option}` holds in both directions, and is set by another setting"));
        }
        self.add(value, &theirs, Taken, format!("`server.{option}`: \"{time}\""));
        self.draft.server.insert(option.into(), time.into());
    }

    fn access_log(&mut self, value: &Node) {
        let mut options = Map::new();
        let path = value.text().or_else(|| value.get("path").and_then(Node::text));
        let written = format!("access_log = {}", value.written());
        let Some(path) = path else { return self.add(value, &written, Dropped, "it names no file") };
        match path {
            "/dev/stdout" => {}
            "/dev/stderr" => drop(options.insert("to".into(), "stderr".into())),
            path => drop(options.insert("to".into(), escaped(path).into())),
        }
        self.add(value, &format!("access_log = \"{path}\""), Taken, "layer `access_log`");
        if let Some(condition) = value.get("if") {
            self.dropped(condition, "access_log/if", "every request is logged");
        }
        if let Some(node) = value.get("format") {
            match node.text().ok_or("a template of fields").and_then(log_format::ours) {
                Ok(format) => {
                    options.insert("format".into(), escaped(&format).into());
                    self.add(node, &format!("access_log/format = {}", node.written()), Taken, "`access_log.format`");
                }
                Err(part) => {
                    self.dropped(node, "access_log/format", format!("`access_log` has no counterpart of {part}: lines are `combined`"))
                }
            }
        }
        let layer = if options.is_empty() { json!("access_log") } else { json!({ "access_log": options }) };
        self.draft.layers.insert(0, layer);
    }

    fn upstream(&mut self, upstream: &Node) -> Json {
        let mut to = Vec::new();
        for (address, server) in upstream.get("servers").map(Node::entries).unwrap_or_default() {
            let at = if address.starts_with("unix:") { address.clone() } else { format!("http://{address}") };
            let weight = server.get("weight");
            if weight.and_then(Node::number) == Some(0) {
                self.add(server, &format!("upstreams/servers/{address}"), Dropped, "with a weight of 0 it gets no requests");
                continue;
            }
            let (entry, treatment, note) = match weight.map(|weight| (weight, weight.number())) {
                None => (json!(escaped(&at)), Taken, "`proxy.to`".to_owned()),
                Some((_, Some(weight @ 1..=1000))) => {
                    (json!({ "at": escaped(&at), "weight": weight }), Taken, "`proxy.to`, with `weight`".to_owned())
                }
                Some((weight, _)) => (
                    json!(escaped(&at)),
                    Approximated,
                    format!("`proxy.to`: a weight is a whole number up to 1000, and not {}: it is 1", weight.written()),
                ),
            };
            to.push(entry);
            self.add(server, &format!("upstreams/servers/{address}"), treatment, note);
            if let Some(weight) = weight {
                self.add(weight, &format!("weight = {}", weight.written()), treatment, "`weight` of the server");
            }
        }
        match one_or_many(to) {
            Some(to) => json!({ "proxy": { "to": to, "balance": "round_robin" } }),
            None => {
                self.add(upstream, "upstreams", Dropped, "it has no servers: requests get 503");
                json!({ "respond": 503 })
            }
        }
    }
}

/// A number of octets in the largest unit that it is a multiple of.
fn size(octets: u64) -> String {
    match octets {
        0 => "0B".to_owned(),
        octets if octets % (1 << 20) == 0 => format!("{}MiB", octets >> 20),
        octets if octets % (1 << 10) == 0 => format!("{}KiB", octets >> 10),
        octets => format!("{octets}B"),
    }
}

/// A part of a path in `pass`, in which slashes are percent-encoded.
fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}
