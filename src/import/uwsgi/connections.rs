//! Sockets, users, limits and layers.

use serde_json::{Map, Value as Json, json};

use super::super::remarks::Treatment::{Approximated, Taken};
use super::super::value::{Reference, Value, at_first_colon, host_and_port, variable};
use super::{Given, Import};

/// Options that name an address.
const SOCKETS: [&str; 7] = ["http", "http-socket", "socket", "fastcgi-socket", "scgi-socket", "https", "https-socket"];

pub(super) fn is_socket(option: &str) -> bool {
    SOCKETS.contains(&option)
}

/// What the head of a request may take by default, and at most.
const DEFAULT_HEAD: u64 = 32 * 1024;
const MOST_HEAD: u64 = 1024 * 1024;

impl Import {
    pub(super) fn connections(&mut self) {
        let mode = self.mode();
        let group = self.group_of_socket();
        // `=0` is the first of them.
        let shared: Vec<Given> = self.given.iter().filter(|given| given.name.ends_with("shared-socket")).cloned().collect();
        let protocol = self.get("protocol").and_then(Value::plain_text);
        self.taken("protocol", |_, _| Ok((Taken, "`protocol` of the addresses of `socket`".to_owned())));
        for option in SOCKETS {
            let protocol = match option {
                "socket" => protocol.as_deref().unwrap_or("uwsgi"),
                _ => option.strip_suffix("-socket").unwrap_or(option),
            };
            for given in self.take_all(option) {
                let entry = match &given.value {
                    Value::Code(_) => Err("its value is not known before uWSGI starts: write it by hand".to_owned()),
                    value => {
                        let text = self.shared_address(&value.text().unwrap_or_default(), &shared);
                        self.entry(&text, protocol, mode.as_deref(), group.as_deref())
                    }
                };
                match entry {
                    Ok((entry, treatment, note)) => {
                        self.remarks.add(&given.place, &given.theirs, treatment, format!("`listen`: {entry}{note}"));
                        self.draft.listen.push(entry);
                    }
                    Err(note) => {
                        self.undecided.push((option.to_owned(), given.place.clone()));
                        self.remarks.add(&given.place, &given.theirs, super::Dropped, note);
                    }
                }
            }
        }
        if let Some(place) = self.sockets.take() {
            let note =
                "`listen`: the sockets that systemd passes, with the uwsgi protocol; of TCP sockets, `trust` names the front servers";
            self.draft.listen.push(json!({ "at": "systemd", "protocol": "uwsgi" }));
            self.remarks.add(&place, "sockets", Approximated, note);
        }
        if self.draft.listen.is_empty() {
            self.draft.listen.push("127.0.0.1:8000".into());
            self.by_default("socket", Approximated, "`listen`: \"127.0.0.1:8000\": no line that is read names an address");
        }
        self.limits();
        self.layers();
    }

    /// An address that is that of a shared socket, `=0`, in full.
    fn shared_address(&mut self, text: &str, shared: &[Given]) -> String {
        let named = text.strip_prefix('=').and_then(|rest| {
            let (number, more) = rest.split_once(',').map_or((rest, None), |(number, more)| (number, Some(more)));
            let given = shared.get(number.trim().parse::<usize>().ok()?)?;
            let address = given.value.text()?;
            Some((given, more.map_or(address.clone(), |more| format!("{address},{more}"))))
        });
        let Some((given, address)) = named else { return text.to_owned() };
        if let Some(at) = self.given.iter().position(|known| known.place == given.place && known.theirs == given.theirs) {
            self.given.remove(at);
            self.remarks.add(&given.place, &given.theirs, Taken, "its address stands where its number is");
        }
        address
    }

    fn mode(&mut self) -> Option<String> {
        let mut mode = None;
        self.taken("chmod-socket", |_, value| {
            let digits = if matches!(value, Value::Bool(true)) { "666".to_owned() } else { value.plain_text().unwrap_or_default() };
            let octal = u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o777).ok_or("it is no mode")?;
            mode = Some(format!("{octal:04o}"));
            Ok((Taken, "`mode` of Unix sockets".to_owned()))
        });
        mode
    }

    fn group_of_socket(&mut self) -> Option<String> {
        let mut group = None;
        self.taken("chown-socket", |_, value| {
            let owner = value.text().ok_or("it is no name")?;
            group = owner.split_once(':').map(|(_, group)| group.to_owned()).filter(|group| !group.is_empty());
            if group.is_none() {
                return Err("the owner of a socket is the user of the server".to_owned());
            }
            Ok((Approximated, "`group` of Unix sockets; their owner is the user of the server".to_owned()))
        });
        group
    }

    fn limits(&mut self) {
        self.taken("buffer-size", |import, value| {
            let size = value.number().ok_or("it is no number")?.min(MOST_HEAD).next_multiple_of(1024);
            if size <= DEFAULT_HEAD {
                return Ok((Approximated, "`server.max_header_size` is 32 KiB by default".to_owned()));
            }
            import.draft.server.insert("max_header_size".into(), format!("{}KiB", size / 1024).into());
            Ok((Taken, "`server.max_header_size`".to_owned()))
        });
        for option in ["worker-reload-mercy", "reload-mercy"] {
            self.taken(option, |import, value| {
                let time = value.seconds()?;
                import.draft.server.insert("drain".into(), time.into());
                Ok((Taken, "`server.drain`".to_owned()))
            });
        }
        for (option, ours) in [("uid", "user"), ("gid", "group")] {
            self.taken(option, |import, value| {
                import.draft.server.insert(ours.into(), value.text().ok_or("it is no name and no number")?.into());
                Ok((Taken, format!("`server.{ours}`")))
            });
        }
    }

    fn layers(&mut self) {
        let note = "apps see them only below a layer `forwarded`: add `{ \"forwarded\": { \"trust\": \"ADDRESS OF THE PROXY\" } }` behind a proxy that speaks HTTP";
        self.by_default("X-Forwarded-*", super::Dropped, note);
        if self.is_on("disable-logging") {
            self.taken("disable-logging", |_, _| Ok((Taken, "there is no layer `access_log`".to_owned())));
        } else {
            for given in self.take_all("disable-logging") {
                self.remarks.add(&given.place, &given.theirs, Taken, "requests are logged: layer `access_log`");
            }
            self.by_default("request logging", Approximated, "layer `access_log`, in its own format");
            self.draft.layers.push("access_log".into());
        }
        let mut headers: Map<String, Json> = Map::new();
        for given in self.take_all("add-header") {
            let text = given.value.text().unwrap_or_default();
            match text.split_once(':').map(|(name, value)| (name.trim(), value.trim())).filter(|(name, _)| !name.is_empty()) {
                Some((name, value)) => {
                    headers.insert(name.to_owned(), value.replace('{', "{{").replace('}', "}}").into());
                    self.remarks.add(&given.place, &given.theirs, Approximated, "`headers.response.set`: it replaces a header of the app");
                }
                None => self.remarks.add(&given.place, &given.theirs, super::Dropped, "it is no `Name: value`"),
            }
        }
        if !headers.is_empty() {
            self.draft.layers.push(json!({ "headers": { "response": { "set": headers } } }));
        }
        self.taken("limit-post", |import, value| {
            let size = value.number().ok_or("it is no number of octets")?;
            import.draft.layers.push(json!({ "body_limit": format!("{size}B") }));
            Ok((Taken, "layer `body_limit`".to_owned()))
        });
        self.files();
    }

    fn files(&mut self) {
        let index = self.get("static-index").and_then(Value::text);
        let has_files = ["static-map", "static-map2", "check-static"].iter().any(|option| self.get(option).is_some());
        self.taken("static-index", |_, _| {
            if has_files { Ok((Taken, "`static.index`".to_owned())) } else { Err("there is no folder of files".to_owned()) }
        });
        for option in ["static-map", "static-map2", "check-static"] {
            for given in self.take_all(option) {
                let text = given.value.text().unwrap_or_default();
                let pair = if option == "check-static" { Some(("/", text.as_str())) } else { text.split_once('=') };
                let Some((at, root)) =
                    pair.map(|(at, root)| (at.trim(), root.trim())).filter(|(at, root)| at.starts_with('/') && !root.is_empty())
                else {
                    self.remarks.add(
                        &given.place,
                        &given.theirs,
                        super::Dropped,
                        "it is no `/path=folder` that is known before uWSGI starts",
                    );
                    continue;
                };
                let at = if at.len() > 1 { at.trim_end_matches('/') } else { at };
                let root = if option == "static-map2" { format!("{}{at}", root.trim_end_matches('/')) } else { root.to_owned() };
                let root = self.in_folder(&root);
                if let (Some(name), true) = (file_name(&root), file_name(at).is_some()) {
                    let folder = root[..root.len() - name.len()].trim_end_matches('/');
                    let folder = if root.starts_with('/') && folder.is_empty() {
                        "/"
                    } else if folder.is_empty() {
                        "."
                    } else {
                        folder
                    };
                    if folder == "." || Some(folder) == self.working.as_deref() {
                        let note =
                            "the file lies among the code, which is served to nobody: move it into a folder of its own, and write a route";
                        self.remarks.add(&given.place, &given.theirs, super::Dropped, note);
                        continue;
                    }
                    let rewrite = json!({ "rewrite": { "regex": ".*", "to": format!("/{name}") } });
                    self.files.push(json!({ "match": { "path": at }, "layers": [rewrite], "app": { "static": folder } }));
                    self.remarks.add(&given.place, &given.theirs, Taken, "a route with `rewrite` over `static`: one file");
                    continue;
                }
                let mut options = json!({ "at": at, "root": root });
                if let Some(index) = &index {
                    options["index"] = index.as_str().into();
                }
                self.remarks.add(
                    &given.place,
                    &given.theirs,
                    Approximated,
                    "layer `static`: files and folders whose names begin with a dot are left out, and so are links that leave the folder",
                );
                self.draft.layers.push(json!({ "static": options }));
            }
        }
    }

    /// An entry of `listen`, how it is treated, and a note.
    fn entry(
        &self,
        text: &str,
        protocol: &str,
        mode: Option<&str>,
        group: Option<&str>,
    ) -> Result<(Json, super::Treatment, &'static str), String> {
        let mut parts = text.split(',').map(str::trim);
        let at = address(parts.next().unwrap_or_default()).ok_or("`listen` takes addresses, and paths of Unix sockets")?;
        let at = at.strip_prefix("unix:").map_or_else(|| at.clone(), |path| format!("unix:{}", self.in_folder(path)));
        let is_unix = at.starts_with("unix:");
        let mut entry = Map::from_iter([("at".to_owned(), Json::from(at.as_str()))]);
        let mut note = "";
        match protocol {
            "http" => {}
            "https" => {
                let (Some(cert), Some(key)) = (parts.next(), parts.next()) else {
                    return Err("it names no certificate and no key".to_owned());
                };
                let mut tls = json!({ "cert": self.in_folder(cert), "key": self.in_folder(key) });
                if parts.next().is_some_and(|ciphers| !ciphers.is_empty()) {
                    note = "; the cipher suites are those of rustls";
                }
                if let Some(authority) = parts.next().filter(|authority| !authority.is_empty()) {
                    let required = authority.starts_with('!');
                    tls["client"] = json!({ "ca": self.in_folder(authority.trim_start_matches('!')), "required": required });
                }
                entry.insert("tls".into(), tls);
            }
            "uwsgi" | "fastcgi" | "scgi" => {
                entry.insert("protocol".into(), protocol.into());
                if Reference::of(&at).is_some() {
                    entry.insert("trust".into(), json!(["127.0.0.1", "::1", "unix"]));
                } else if !is_unix {
                    entry.insert("trust".into(), json!(["127.0.0.1", "::1"]));
                    note = "; uWSGI believes everybody: write the addresses of the front servers into `trust`";
                }
            }
            _ => return Err(format!("`listen` has no protocol `{protocol}`")),
        }
        if is_unix {
            if let Some(mode) = mode {
                entry.insert("mode".into(), mode.into());
            }
            if let Some(group) = group {
                entry.insert("group".into(), group.into());
            }
        }
        if Reference::of(&at).is_some() {
            note = "; the variable holds an address with its port, or `unix:` and a path";
        }
        let entry = if entry.len() == 1 { Json::from(at) } else { entry.into() };
        Ok((entry, if note.is_empty() { Taken } else { Approximated }, note))
    }
}

/// The name of a file: folders of static files rarely have an extension.
fn file_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| name.trim_start_matches('.').contains('.') && !name.contains(['{', '}', '*', '$']))
}

fn address(text: &str) -> Option<String> {
    if text.is_empty() || text.starts_with(['@', '=']) {
        return None;
    }
    if let Some(number) = text.strip_prefix("fd://") {
        return number.parse::<u32>().ok().map(|number| format!("fd:{number}"));
    }
    if let Some(Reference { name, default }) = Reference::of(text) {
        return variable(name, default.and_then(address).as_deref());
    }
    if text.contains('/') || at_first_colon(text).is_none() {
        return Some(format!("unix:{text}"));
    }
    host_and_port(text).map(|(host, port)| format!("{host}:{port}"))
}
