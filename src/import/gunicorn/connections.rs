//! Listeners, TLS, proxies in front, and the layers that gunicorn has inside.

use serde_json::{Map, Value as Json, json};

use super::super::proxies::{trusted, unread};
use super::super::remarks::Treatment::{Approximated, Taken};
use super::super::value::{Reference, Value, at_first_colon, host_and_port, networks, variable};
use super::Import;
use crate::server::Listen;

/// What the server takes at most.
const MOST_HEADERS: u64 = 1_000;
const DEFAULT_HEAD: u64 = 32 * 1024;
const MOST_HEAD: u64 = 1024 * 1024;

const NO_ADDRESS: &str = "an address is not known before it runs, or has a form that `listen` does not take";

/// The atoms that `access_log` has as gunicorn has them.
const ATOMS: &str = "hlutrmUqHsBbfaTMDLp";

impl Import {
    pub(super) fn connections(&mut self) {
        self.addresses();
        let mut shared = self.tls();
        shared.extend(self.proxy_protocol());
        shared.extend(self.protocol());
        self.draft.listen = self.draft.listen.drain(..).map(|entry| with(entry, &shared)).collect();
        self.limits();
    }

    fn addresses(&mut self) {
        let umask = self.umask();
        if let Some(place) = self.sockets.take() {
            self.draft.listen.push("systemd".into());
            self.remarks.add(&place, "sockets", Approximated, "`listen`: \"systemd\": the sockets that systemd passes");
            self.taken("bind", |_, _| Err("gunicorn listens on the sockets that systemd passes, and on nothing else".to_owned()));
            return;
        }
        let is_given = self.settings.get("bind").is_some();
        let is_taken = self.taken("bind", |import, value| {
            let (mut entries, mut notes) = (Vec::new(), Vec::new());
            let mut treatment = Taken;
            for item in value.items() {
                let address = address(&item.text().ok_or(NO_ADDRESS)?)?;
                let address =
                    address.strip_prefix("unix:").map_or_else(|| address.clone(), |path| format!("unix:{}", import.in_folder(path)));
                let mut entry = Json::from(address.as_str());
                let mut note = "";
                if address.starts_with("unix:") {
                    entry = json!({ "at": address, "mode": format!("{:04o}", 0o666 & !umask) });
                    note = "; the mode of a Unix socket is what gunicorn's umask leaves";
                } else if Reference::of(&address).is_some() {
                    note = "; the variable holds one address, with its port, or `unix:` and a path";
                }
                if !note.is_empty() {
                    treatment = Approximated;
                }
                notes.push(format!("{entry}{note}"));
                entries.push(entry);
            }
            import.draft.listen.extend(entries);
            if notes.is_empty() {
                return Err("it is empty".to_owned());
            }
            Ok((treatment, format!("`listen`: {}", notes.join(", "))))
        });
        if !is_taken && self.draft.listen.is_empty() {
            let (address, note) = if is_given {
                ("127.0.0.1:8000", "`listen`: \"127.0.0.1:8000\"")
            } else if self.platform_sets_port {
                ("0.0.0.0:${PORT:-8000}", "`listen`: \"0.0.0.0:${PORT:-8000}\": gunicorn listens there where the platform sets PORT")
            } else {
                (
                    "127.0.0.1:8000",
                    "`listen`: \"127.0.0.1:8000\"; where a platform sets PORT, gunicorn listens on it: write \"0.0.0.0:${PORT}\"",
                )
            };
            self.draft.listen.push(address.into());
            self.by_default("bind", Approximated, note);
        }
    }

    fn umask(&mut self) -> u64 {
        let mut umask = 0;
        self.taken("umask", |_, value| {
            umask = match value {
                Value::Text(text) if text.starts_with('0') => u64::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
                other => other.number(),
            }
            .filter(|umask| *umask <= 0o777)
            .ok_or("it is no umask")?;
            Ok((
                Approximated,
                "the mode of a Unix socket; files that the app writes have the umask of the process: set it in the service".to_owned(),
            ))
        });
        umask
    }

    fn tls(&mut self) -> Map<String, Json> {
        let file = |setting| self.settings.get(setting).and_then(Value::text).map(|path| self.in_folder(&path));
        let (certificate, key, authority) = (file("certfile"), file("keyfile"), file("ca_certs"));
        let mut shared = Map::new();
        let Some(certificate) = certificate else {
            for setting in ["certfile", "keyfile", "ca_certs", "cert_reqs"] {
                self.taken(setting, |_, _| Err("without `certfile` there is no TLS".to_owned()));
            }
            return shared;
        };
        let mut tls = Map::new();
        tls.insert("cert".into(), certificate.as_str().into());
        tls.insert("key".into(), key.unwrap_or(certificate).into());
        self.taken("certfile", |_, _| Ok((Taken, "`tls.cert` of every address".to_owned())));
        self.taken("keyfile", |_, _| Ok((Taken, "`tls.key`".to_owned())));
        let mut required = None;
        self.taken("cert_reqs", |_, value| {
            required = match value.number() {
                Some(0) => return Ok((Taken, "clients need no certificate, as by default".to_owned())),
                Some(1) => Some(false),
                Some(2) => Some(true),
                _ => return Err("it is none of 0, 1 and 2".to_owned()),
            };
            if authority.is_none() {
                return Err("without `ca_certs` nobody says whom to believe".to_owned());
            }
            Ok((Taken, "`tls.client.required`".to_owned()))
        });
        if let (Some(authority), Some(required)) = (&authority, required) {
            tls.insert("client".into(), json!({ "ca": authority, "required": required }));
            self.taken("ca_certs", |_, _| Ok((Taken, "`tls.client.ca`".to_owned())));
        }
        self.taken("ca_certs", |_, _| Err("clients are not asked for certificates".to_owned()));
        shared.insert("tls".into(), tls.into());
        shared
    }

    fn proxy_protocol(&mut self) -> Map<String, Json> {
        let mut shared = Map::new();
        let is_on = self.settings.get("proxy_protocol").is_some_and(|value| value.truth() != Some(false));
        let trust = self.settings.get("proxy_allow_ips").map_or(Ok(json!(["127.0.0.1", "::1"])), networks);
        self.taken("proxy_protocol", |_, value| {
            if !is_on {
                return Ok((Taken, "there is none, as by default".to_owned()));
            }
            let trust = trust.clone().map_err(|item| format!("`proxy_allow_ips`: `{item}` is no address"))?;
            let version = value.plain_text().filter(|mode| matches!(mode.as_str(), "v1" | "v2"));
            shared.insert("proxy_protocol".into(), json!({ "trust": trust }));
            match version {
                Some(_) => Ok((Approximated, "`proxy_protocol` takes both versions".to_owned())),
                None => {
                    Ok((Approximated, "`proxy_protocol`: a peer that is not in `trust` is served, and its header is no header".to_owned()))
                }
            }
        });
        self.taken("proxy_allow_ips", |_, value| match networks(value) {
            Err(item) => Err(format!("`{item}` is no address")),
            Ok(_) if is_on => Ok((Taken, "`proxy_protocol.trust`".to_owned())),
            Ok(_) => Err("without `proxy_protocol` it has no effect".to_owned()),
        });
        shared
    }

    /// The uwsgi protocol, and versions of HTTP.
    fn protocol(&mut self) -> Map<String, Json> {
        let mut shared = Map::new();
        let trust = self.settings.get("uwsgi_allow_ips").map_or(Ok(json!(["127.0.0.1", "::1", "unix"])), networks);
        let mut is_uwsgi = false;
        self.taken("protocol", |_, value| match value.plain_text().as_deref() {
            Some("http") => Ok((Taken, "HTTP is spoken, as by default".to_owned())),
            Some("uwsgi") => {
                let trust = trust.clone().map_err(|item| format!("`uwsgi_allow_ips`: `{item}` is no address"))?;
                is_uwsgi = true;
                shared.insert("protocol".into(), "uwsgi".into());
                shared.insert("trust".into(), trust);
                Ok((Taken, "`protocol`: \"uwsgi\", with `trust`".to_owned()))
            }
            _ => Err("it is no protocol of gunicorn's".to_owned()),
        });
        self.taken("uwsgi_allow_ips", |_, value| match networks(value) {
            Err(item) => Err(format!("`{item}` is no address")),
            Ok(_) if is_uwsgi => Ok((Taken, "`trust` of the listener".to_owned())),
            Ok(_) => Err("without `protocol = \"uwsgi\"` it has no effect".to_owned()),
        });
        self.taken("http_protocols", |_, value| {
            let versions: Vec<&str> = value
                .items()
                .iter()
                .filter_map(Value::plain_text)
                .filter_map(|name| match name.as_str() {
                    "h1" => Some("1.1"),
                    "h2" => Some("2"),
                    _ => None,
                })
                .collect();
            if versions.len() != value.items().len() || versions.is_empty() || is_uwsgi {
                return Err("`http` of a listener takes \"1.1\" and \"2\"".to_owned());
            }
            shared.insert("http".into(), json!(versions));
            Ok((Taken, "`http` of the listener".to_owned()))
        });
        shared
    }

    fn limits(&mut self) {
        self.taken("limit_request_fields", |import, value| match value.number() {
            Some(number @ 1..=MOST_HEADERS) => {
                import.draft.server.insert("max_headers".into(), number.into());
                Ok((Taken, "`server.max_headers`".to_owned()))
            }
            Some(number) if number > 0 => {
                import.draft.server.insert("max_headers".into(), MOST_HEADERS.into());
                Ok((Approximated, "`server.max_headers`: 1000, the most".to_owned()))
            }
            _ => Err("it is no number of headers".to_owned()),
        });
        let mut size = 0;
        for setting in ["limit_request_line", "limit_request_field_size"] {
            self.taken(setting, |import, value| {
                let wanted = value.number().ok_or("it is no number")?;
                // 0 sets no limit.
                let wanted = if wanted == 0 { MOST_HEAD } else { wanted.min(MOST_HEAD) };
                size = size.max(wanted.next_multiple_of(1024));
                if size <= DEFAULT_HEAD {
                    return Ok((
                        Approximated,
                        "`server.max_header_size` limits the request line and all headers together: 32 KiB by default".to_owned(),
                    ));
                }
                let kib = size / 1024;
                import.draft.server.insert("max_header_size".into(), format!("{kib}KiB").into());
                Ok((Approximated, format!("`server.max_header_size`: \"{kib}KiB\", for the request line and all headers together")))
            });
        }
    }

    /// `forwarded` and `access_log`.
    pub(super) fn layers(&mut self) {
        let is_unix = |at: &str| at.starts_with("unix:") || at == "systemd";
        let has_unix = self.draft.listen.iter().any(|entry| entry.get("at").unwrap_or(entry).as_str().is_some_and(is_unix));
        let is_http = self.draft.listen.iter().all(|entry| entry.get("protocol").is_none());
        let mut is_said = false;
        let mut trust = json!(["127.0.0.1", "::1"]);
        let read: &[&str] = if self.reads_scheme() { &["x-forwarded-for", "x-forwarded-proto"] } else { &["x-forwarded-for"] };
        let unread = unread("gunicorn", read);
        self.taken("forwarded_allow_ips", |_, value| {
            is_said = true;
            if !is_http {
                return Err("front servers that speak the uwsgi protocol are trusted by `trust` of the listener".to_owned());
            }
            trust = json!([]);
            trust = networks(value).map_err(|item| {
                let what = if item.starts_with("${") { "is a variable whose default is no single address" } else { "is no address" };
                format!("`{item}` {what}: nobody is trusted, and X-Forwarded-* is removed")
            })?;
            Ok((
                Approximated,
                format!("`forwarded`: the layer also takes the client's address over from X-Forwarded-For, and removes X-Forwarded-* of others; {unread}"),
            ))
        });
        if !is_said && is_http {
            let note = format!(
                "`forwarded.trust`: the app sees X-Forwarded-* only below this layer, which also takes the client's address over; without a proxy, remove it; {unread}"
            );
            self.by_default("forwarded_allow_ips = \"127.0.0.1,::1\"", Approximated, &note);
        }
        if let Some(list) = trust.as_array_mut().filter(|list| has_unix && !list.contains(&json!("unix"))) {
            list.push("unix".into());
        }
        if is_http && trust.as_array().is_some_and(|list| !list.is_empty()) {
            self.draft.believe(self.draft.layers.len(), trusted(&trust), read);
        }
        self.taken("secure_scheme_headers", |_, value| {
            let Value::Dict(entries) = value else { return Err("it is no dictionary".to_owned()) };
            let is_usual =
                entries.iter().all(|(name, _)| name.plain_text().is_some_and(|name| name.eq_ignore_ascii_case("x-forwarded-proto")));
            if is_usual {
                return Ok((Taken, "`forwarded` reads the scheme from X-Forwarded-Proto".to_owned()));
            }
            let hint = "let the proxy set it, and take it out of `remove` of the layer `headers` if it is there";
            Err(format!("`forwarded` reads the scheme from X-Forwarded-Proto alone: {hint}"))
        });
        self.access_log();
    }

    /// Whether gunicorn reads the scheme from the header that `forwarded` reads it from.
    fn reads_scheme(&self) -> bool {
        let Some(Value::Dict(entries)) = self.settings.get("secure_scheme_headers") else { return true };
        entries.iter().any(|(name, _)| name.plain_text().is_some_and(|name| name.eq_ignore_ascii_case("x-forwarded-proto")))
    }

    fn access_log(&mut self) {
        let mut layer = None;
        self.taken("accesslog", |import, value| {
            layer = match value.text().as_deref() {
                None | Some("" | "None") => return Ok((Taken, "requests are not logged, as by default".to_owned())),
                Some("-") => Some(Map::new()),
                Some(path) => Some(Map::from_iter([("to".to_owned(), Json::from(import.in_folder(path)))])),
            };
            Ok((Taken, "layer `access_log`".to_owned()))
        });
        let is_on = layer.is_some();
        self.taken("access_log_format", |_, value| {
            if !is_on {
                return Err("without `accesslog` it has no effect".to_owned());
            }
            let format = value.text().ok_or("it is no text")?;
            if let Some(atom) = unknown_atom(&format) {
                return Err(format!("`access_log` has no `{atom}`: lines are `combined`"));
            }
            layer.get_or_insert_default().insert("format".into(), format.into());
            Ok((Taken, "`access_log.format`".to_owned()))
        });
        if let Some(options) = layer {
            self.draft.layers.push(if options.is_empty() { json!("access_log") } else { json!({ "access_log": options }) });
        }
    }
}

/// An address of gunicorn's, as `listen` writes it.
fn address(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix("unix:") {
        let path = if path.starts_with("//") { path.trim_start_matches('/').to_owned() } else { path.to_owned() };
        let path = if text.starts_with("unix:///") { format!("/{path}") } else { path };
        return if path.is_empty() { Err(NO_ADDRESS) } else { Ok(format!("unix:{path}")) };
    }
    if let Some(number) = text.strip_prefix("fd://").or_else(|| text.strip_prefix("fd:")) {
        return number.parse::<u32>().map(|number| format!("fd:{number}")).map_err(|_| NO_ADDRESS);
    }
    let text = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    if let Some(Reference { name, default }) = Reference::of(text) {
        let default = default.filter(|default| !default.is_empty()).map(address).transpose()?;
        return variable(name, default.as_deref()).ok_or(NO_ADDRESS);
    }
    let (host, port) = if text.ends_with(']') || at_first_colon(text).is_none() {
        if text.contains("${") {
            return Err("whether a variable in it holds the port is not known before it runs");
        }
        (if matches!(text, "" | "*") { "0.0.0.0".to_owned() } else { text.to_owned() }, "8000")
    } else {
        host_and_port(text).ok_or(NO_ADDRESS)?
    };
    if host.contains(['/', ' ', ',']) {
        return Err(NO_ADDRESS);
    }
    let host = if host.contains(':') && !host.starts_with('[') && !host.contains("${") { format!("[{host}]") } else { host };
    let address = format!("{host}:{port}");
    if address.contains("${") || address.parse::<Listen>().is_ok() { Ok(address) } else { Err(NO_ADDRESS) }
}

/// An entry of `listen` with more keys.
fn with(entry: Json, shared: &Map<String, Json>) -> Json {
    if shared.is_empty() {
        return entry;
    }
    let mut object = match entry {
        Json::Object(object) => object,
        at => Map::from_iter([("at".to_owned(), at)]),
    };
    object.extend(shared.clone());
    object.into()
}

/// The first atom of a format that `access_log` does not have.
fn unknown_atom(format: &str) -> Option<&str> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let atom = &rest[at..];
        let length = if atom.starts_with("%%") { 2 } else { atom.find(")s").map_or(atom.len(), |end| end + 2) };
        let name = atom[..length].strip_prefix("%(").and_then(|name| name.strip_suffix(")s"));
        let is_known = length == 2 && atom.starts_with("%%")
            || name.is_some_and(|name| {
                let is_letter = name.len() == 1 && ATOMS.contains(name);
                is_letter || (name.starts_with('{') && (name.ends_with("}i") || name.ends_with("}o")))
            });
        if !is_known {
            return Some(&atom[..length]);
        }
        rest = &atom[length..];
    }
    None
}
