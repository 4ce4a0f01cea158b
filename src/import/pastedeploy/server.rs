//! `[server:main]`: waitress, gunicorn, and the servers that come with Paste and Pyramid.

use serde_json::{Map, Value as Json, json};

use super::super::proxies::{trusted, unread};
use super::super::remarks::Treatment::{Approximated, Dropped, Taken};
use super::super::remarks::{Place, Remarks};
use super::super::value::{Value, escaped, networks};
use super::super::{NotImported, gunicorn};
use super::Served;
use super::loader::{Factory, Item, Loader, Part, Target, Wanted};
use super::sections::take;

/// The most threads of a worker.
const MOST_THREADS: u64 = 1024;

/// What the head of a request may take by default, and at most, in KiB.
const HEAD: std::ops::RangeInclusive<u64> = 32..=1024;

/// A server that has one process with threads.
struct Kind {
    name: &'static str,
    host: &'static str,
    port: &'static str,
    /// The option of the threads, and how many there are by default.
    threads: (&'static str, u64),
}

const WAITRESS: Kind = Kind { name: "waitress", host: "0.0.0.0", port: "8080", threads: ("threads", 4) };
const PASTE: Kind = Kind { name: "Paste's server", host: "127.0.0.1", port: "8080", threads: ("threadpool_workers", 10) };
const WSGIREF: Kind = Kind { name: "wsgiref", host: "0.0.0.0", port: "8080", threads: ("threads", 1) };
const CHERRYPY: Kind = Kind { name: "CherryPy's server", host: "0.0.0.0", port: "8080", threads: ("numthreads", 10) };

/// Why options have no counterpart.
const DROPPED: &[(&[&str], &str)] = &[
    (&["backlog", "request_queue_size"], "connections are accepted at once, and requests wait in the queue of the app: `queue`"),
    (&["ident", "server_name", "server_version"], "responses do not name the server"),
    (&["url_scheme"], "the scheme is that of the listener, or the one of X-Forwarded-Proto below a layer `forwarded`"),
    (&["url_prefix"], "write a `mount` of a route"),
    (
        &["trusted_proxy_count", "clear_untrusted_proxy_headers", "log_untrusted_proxy_headers"],
        "`forwarded` skips trusted addresses from the right, and removes the headers of others",
    ),
    (
        &[
            "use_threadpool",
            "daemon_threads",
            "protocol_version",
            "ipv4",
            "ipv6",
            "asyncore_use_poll",
            "asyncore_loop_timeout",
            "loop_timeout",
            "channel_request_lookahead",
        ],
        "the event loop does without it",
    ),
    (
        &["recv_bytes", "send_bytes", "outbuf_overflow", "outbuf_high_watermark", "inbuf_overflow"],
        "bodies wait in memory and in files: `buffer` of the app, `server.spool`",
    ),
    (&["socket_timeout"], "`server.header_timeout` and `server.body_timeout` limit slow clients"),
    (&["expose_tracebacks"], "exceptions are logged, and clients get a plain 500"),
    (&["log_socket_errors", "cleanup_interval"], "clients that leave are no errors, and idle connections are closed in time"),
    (&["ssl_context", "shutdown_timeout", "timeout"], "there is no counterpart"),
];

/// What the first file says of the server of this name. There may be no `main`.
pub(super) fn server(loader: &mut Loader, name: &str) -> Result<Served, NotImported> {
    if name == "main" && loader.find(Wanted::Server, 0, name).is_err() {
        let mut remarks = Remarks::default();
        let note = "`listen`: \"127.0.0.1:8000\", with the workers and threads that are usual here: the file names no server";
        remarks.add(&Place::default(), "[server:main]", Approximated, note);
        let mut served = Served { remarks, ..Served::default() };
        served.draft.listen.push("127.0.0.1:8000".into());
        return Ok(served);
    }
    let Part::Factory(factory) = loader.load(Wanted::Server, name)? else { return Ok(Served::default()) };
    let (Target::Egg(name) | Target::Object(name)) = &factory.target;
    let lower = name.to_ascii_lowercase();
    let kind = match lower.split(['#', ':']).next().unwrap_or_default() {
        "gunicorn" => return by_gunicorn(loader, factory),
        "waitress" => Some(WAITRESS),
        "paste" | "pastescript" if !lower.contains("cherrypy") => Some(PASTE),
        _ if lower.contains("cherrypy") => Some(CHERRYPY),
        _ if lower.contains("wsgiref") => Some(WSGIREF),
        _ => None,
    };
    let note = match &kind {
        Some(kind) => format!("{} is replaced: one worker with threads", kind.name),
        None => "this server is replaced, and only its address is read: set `workers` and `threads` of the app".to_owned(),
    };
    loader.remarks.once(&factory.place, &factory.theirs, Approximated, note);
    let is_known = kind.is_some();
    let mut server = Server { kind: kind.unwrap_or(WSGIREF), items: factory.local, served: Served::default() };
    server.addresses();
    if is_known {
        server.threads();
    }
    server.limits();
    server.proxies();
    server.rest();
    Ok(server.served)
}

/// gunicorn as a server of Paste Deploy takes its own settings, in small or large letters.
fn by_gunicorn(loader: &mut Loader, mut factory: Factory) -> Result<Served, NotImported> {
    loader.remarks.once(&factory.place, &factory.theirs, Taken, "its settings follow");
    let host = take(&mut factory.local, "host");
    let port = take(&mut factory.local, "port");
    let mut given: Vec<Item> = factory.local;
    match (host, port) {
        (Some(host), Some(port)) => {
            loader.remarks.once(&port.place, &format!("port = {}", port.value), Taken, "`listen`");
            given.push(Item { name: "bind".to_owned(), value: format!("{}:{}", host.value, port.value), place: host.place });
        }
        (Some(host), None) => given.push(Item { name: "bind".to_owned(), ..host }),
        (None, Some(port)) => {
            loader.remarks.once(&port.place, &format!("port = {}", port.value), Dropped, "without `host`, gunicorn ignores it")
        }
        (None, None) => {}
    }
    gunicorn::runner(given.into_iter().map(|item| (item.name, item.value, item.place)))
}

struct Server {
    kind: Kind,
    items: Vec<Item>,
    served: Served,
}

impl Server {
    /// Takes an option over, if its value is one that `as_ours` knows.
    fn taken(&mut self, name: &str, as_ours: impl FnOnce(&mut Served, &str) -> Result<String, &'static str>) -> bool {
        let Some(item) = take(&mut self.items, name) else { return false };
        let theirs = format!("{name} = {}", item.value);
        let made = as_ours(&mut self.served, item.value.trim());
        let is_taken = made.is_ok();
        match made {
            Ok(note) => self.served.remarks.add(&item.place, &theirs, Taken, note),
            Err(note) => self.served.remarks.add(&item.place, &theirs, Dropped, note),
        }
        is_taken
    }

    fn addresses(&mut self) {
        let mut mode = None;
        self.taken("unix_socket_perms", |_, value| {
            let octal = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777).ok_or("it is no mode")?;
            mode = Some(format!("{octal:04o}"));
            Ok("`mode` of the Unix socket".to_owned())
        });
        let mut tls = None;
        for option in ["ssl_pem", "ssl_certificate"] {
            self.taken(option, |_, value| {
                if value == "*" {
                    return Err("write `tls` of the listener: `ziggurat certs --self-signed` makes a certificate for development");
                }
                tls = Some(json!({ "cert": escaped(value), "key": escaped(value) }));
                Ok("`tls` of the listener: certificate and key".to_owned())
            });
        }
        self.taken("unix_socket", |served, value| {
            let mut entry = Map::from_iter([("at".to_owned(), Json::from(format!("unix:{}", escaped(value))))]);
            // waitress has a mode of its own.
            entry.insert("mode".into(), mode.clone().unwrap_or("0600".to_owned()).into());
            served.draft.listen.push(entry.into());
            Ok("`listen`".to_owned())
        });
        let mut found: Vec<String> = Vec::new();
        self.taken("listen", |_, value| {
            for text in value.split([',', ' ', '\n']).filter(|text| !text.is_empty()) {
                let text = text.strip_prefix("*:").map_or_else(|| text.to_owned(), |port| format!("0.0.0.0:{port}"));
                let (_, port) = text.rsplit_once(':').ok_or("an address has a port")?;
                port.parse::<u16>().map_err(|_| "a port is a number")?;
                found.push(text);
            }
            Ok("`listen`".to_owned())
        });
        let host = take(&mut self.items, "host");
        let port = take(&mut self.items, "port");
        let is_usual = self.served.draft.listen.is_empty() && found.is_empty();
        if is_usual {
            let text = |item: &Option<Item>, usual: &str| item.as_ref().map_or(usual.to_owned(), |item| item.value.trim().to_owned());
            let (host, port) = (text(&host, self.kind.host), text(&port, self.kind.port));
            // Paste's server takes the port from the host, too.
            let (host, port) = match host.rsplit_once(':').filter(|(name, _)| !name.contains(':')) {
                Some((host, port)) => (host.to_owned(), port.to_owned()),
                None => (host, port),
            };
            found.push(match host.as_str() {
                "" | "*" => format!("0.0.0.0:{port}"),
                host if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
                host => format!("{host}:{port}"),
            });
        }
        for item in [host.as_ref(), port.as_ref()].into_iter().flatten() {
            let (treatment, note) = if is_usual { (Taken, "`listen`") } else { (Dropped, "another option says where the server listens") };
            self.served.remarks.add(&item.place, &format!("{} = {}", item.name, item.value), treatment, note);
        }
        if is_usual && (host.is_none() || port.is_none()) {
            let note = format!("`listen`: {}: what is not said is as {} has it", Json::from(found[0].as_str()), self.kind.name);
            self.served.remarks.add(&Place::default(), "host and port", Taken, note);
        }
        for at in found {
            self.served.draft.listen.push(match &tls {
                Some(tls) => json!({ "at": escaped(&at), "tls": tls }),
                None => escaped(&at).into(),
            });
        }
    }

    fn threads(&mut self) {
        self.served.wsgi.insert("workers".into(), 1.into());
        self.served.remarks.add(&Place::default(), "one process", Taken, "`workers`: 1; Ziggurat's own default is one for each core");
        let (option, usual) = self.kind.threads;
        let is_taken = self.taken(option, |served, value| {
            let threads = value.parse::<u64>().ok().filter(|threads| (1..=MOST_THREADS).contains(threads));
            served.wsgi.insert("threads".into(), threads.ok_or("it is no number of threads from 1 to 1024")?.into());
            Ok("`threads`".to_owned())
        });
        if !is_taken {
            self.served.wsgi.insert("threads".into(), usual.into());
            self.served.remarks.add(
                &Place::default(),
                &format!("{option} = {usual}"),
                Taken,
                format!("`threads`: {usual}, as {} has it", self.kind.name),
            );
        }
    }

    fn limits(&mut self) {
        self.taken("connection_limit", |served, value| {
            let number =
                value.parse::<u64>().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or("it is no number of connections")?;
            served.draft.server.insert("max_connections".into(), number.into());
            Ok("`server.max_connections`".to_owned())
        });
        self.taken("channel_timeout", |served, value| {
            let seconds =
                value.parse::<u64>().ok().filter(|seconds| (1..=31_536_000).contains(seconds)).ok_or("it is no number of seconds")?;
            served.draft.server.insert("keep_alive".into(), format!("{seconds}s").into());
            Ok("`server.keep_alive`".to_owned())
        });
        self.taken("max_request_header_size", |served, value| {
            let kib = value.parse::<u64>().map_err(|_| "it is no number of octets")?.div_ceil(1024).clamp(*HEAD.start(), *HEAD.end());
            served.draft.server.insert("max_header_size".into(), format!("{kib}KiB").into());
            Ok(format!("`server.max_header_size`: \"{kib}KiB\""))
        });
        self.taken("max_request_body_size", |served, value| {
            let octets = value.parse::<u64>().ok().filter(|octets| *octets < 1 << 50).ok_or("it is no number of octets")?;
            served.draft.layers.push(json!({ "body_limit": format!("{octets}B") }));
            Ok("layer `body_limit`".to_owned())
        });
    }

    fn proxies(&mut self) {
        let mut names: Option<Vec<String>> = None;
        let has_proxy = self.items.iter().any(|item| item.name == "trusted_proxy");
        self.taken("trusted_proxy_headers", |_, value| {
            if !has_proxy {
                return Err("without `trusted_proxy` nobody is believed");
            }
            let list = value.split([',', ' ', '\n']).filter(|name| !name.is_empty()).map(str::to_ascii_lowercase);
            names = Some(list.collect());
            Ok("what `forwarded` reads".to_owned())
        });
        // waitress has this one by default.
        let names = names.filter(|names| !names.is_empty()).unwrap_or_else(|| vec!["x-forwarded-proto".to_owned()]);
        let read: Vec<&str> = names.iter().map(String::as_str).collect();
        let count =
            self.items.iter().find(|item| item.name == "trusted_proxy_count").and_then(|item| item.value.trim().parse::<u64>().ok());
        let is_taken = self.taken("trusted_proxy", |served, value| {
            let trust = networks(&Value::plain(value)).map_err(|_| "it is no address: nobody is trusted")?;
            let mut options = trusted(&trust);
            if let (Some(proxies), Some(count @ 1..=100)) = (options.get_mut("proxies"), count) {
                *proxies = count.into();
            }
            if read.contains(&"forwarded") {
                options["header"] = "forwarded".into();
                served.draft.layers.insert(0, json!({ "forwarded": options }));
                return Ok("layer `forwarded`, which reads the header Forwarded".to_owned());
            }
            served.draft.believe(0, options, &read);
            Ok(format!("layer `forwarded`; {}", unread("waitress", &read)))
        });
        if count.is_some() && self.served.draft.layers.iter().any(|layer| layer.pointer("/forwarded/proxies").is_some()) {
            self.taken("trusted_proxy_count", |_, _| Ok("`forwarded.proxies`".to_owned()));
        }
        if !is_taken {
            let note = "apps see them only below a layer `forwarded`: add `{ \"forwarded\": { \"trust\": \"ADDRESS OF THE PROXY\" } }` behind a proxy";
            self.served.remarks.add(&Place::default(), "X-Forwarded-*", Dropped, note);
        }
    }

    fn rest(&mut self) {
        for item in std::mem::take(&mut self.items) {
            let known = DROPPED.iter().find(|(names, _)| names.contains(&item.name.as_str())).map(|(_, note)| *note);
            let is_pool = item.name.starts_with("threadpool_");
            let note = known.unwrap_or(if is_pool {
                "threads are not replaced: `recycle` of the app replaces workers"
            } else {
                "there is no counterpart"
            });
            self.served.remarks.add(&item.place, &format!("{} = {}", item.name, item.value), Dropped, note);
        }
    }
}
