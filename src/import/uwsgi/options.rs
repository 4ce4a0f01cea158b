//! uWSGI's options: other names of the same one, letters of the command line, and why some have no counterpart.

/// The most options that are read.
pub(super) const MOST_OPTIONS: usize = 2_000;

/// Names of one option, the first of which is used here.
const ALIASES: &[&[&str]] = &[
    &["socket", "uwsgi-socket"],
    &["processes", "workers"],
    &["module", "wsgi"],
    &["wsgi-file", "file"],
    &["home", "virtualenv", "venv", "pyhome"],
    &["pythonpath", "python-path", "pp"],
    &["chmod-socket", "chmod"],
    &["disable-logging", "disable-requests-logging"],
    &["lazy-apps", "lazy"],
    &["http-socket", "http11-socket"],
    &["reload-on-rss", "evil-reload-on-rss"],
    &["py-autoreload", "python-autoreload", "py-auto-reload"],
    &["limit-post", "max-body"],
    &["logto", "logto2"],
    &["log-format", "logformat"],
    &["xml", "xmlconfig"],
    &["yaml", "yml"],
    &["py-callos-afterfork", "py-call-osafterfork"],
];

/// Letters of the command line. In a file, such a name is a variable.
const LETTERS: &[(char, &str)] = &[
    ('s', "socket"),
    ('p', "processes"),
    ('t', "harakiri"),
    ('x', "xml"),
    ('S', "set"),
    ('d', "daemonize"),
    ('l', "listen"),
    ('v', "max-vars"),
    ('b', "buffer-size"),
    ('m', "memory-report"),
    ('c', "cgi-mode"),
    ('a', "abstract-socket"),
    ('C', "chmod-socket"),
    ('T', "enable-threads"),
    ('i', "single-interpreter"),
    ('M', "master"),
    ('r', "reaper"),
    ('R', "max-requests"),
    ('z', "socket-timeout"),
    ('A', "sharedarea"),
    ('Q', "spooler"),
    ('L', "disable-logging"),
    ('y', "yaml"),
    ('j', "json"),
    ('w', "module"),
    ('J', "test"),
    ('H', "home"),
    ('O', "optimize"),
];

/// The names that `uwsgi --help` lists, with its plug-ins.
const NAMES: &str = include_str!("names.txt");

/// Options without a value on a command line.
const FLAGS: &[&str] = &[
    "master",
    "enable-threads",
    "disable-logging",
    "single-interpreter",
    "lazy-apps",
    "vacuum",
    "die-on-term",
    "need-app",
    "strict",
    "thunder-lock",
    "manage-script-name",
    "no-orphans",
    "auto-procname",
    "http-keepalive",
    "http-auto-chunked",
    "memory-report",
    "ignore-sigpipe",
    "ignore-write-errors",
    "disable-write-exception",
    "log-x-forwarded-for",
    "no-site",
    "gevent-monkey-patch",
    "wsgi-env-behaviour",
    "log-master",
    "cgi-mode",
    "reaper",
];

/// Why options have no counterpart.
const DROPPED: &[(&[&str], &str)] = &[
    (
        &["daemonize", "pidfile", "safe-pidfile", "pidfile2", "daemonize2"],
        "the server stays in the foreground, for systemd or a container to watch",
    ),
    (&["harakiri-verbose"], "where the thread was at a deadline is in the log, always"),
    (&["max-worker-lifetime-delta"], "`recycle.jitter` is about `requests`: workers are replaced one at a time"),
    (&["http-to-https"], "write a route with `\"match\": { \"scheme\": \"http\" }` and the app `redirect`, and its address into `listen`"),
    (
        &["reload-on-as", "evil-reload-on-as", "limit-as"],
        "`recycle.memory` is about the resident set: `MemoryMax=` of systemd is a hard limit",
    ),
    (&["shared-socket", "undeferred-shared-socket"], "no address of `listen` names it by its number, as in `=0`"),
    (&["no-default-app"], "paths without an app get 404, always"),
    (&["listen"], "connections are accepted at once, and requests wait in the queue of the app: `queue`"),
    (
        &["cheaper", "cheaper-initial", "cheaper-step", "cheaper-algo", "cheap", "idle", "cheaper-overload"],
        "the number of workers does not change: `workers`",
    ),
    (&["thunder-lock", "no-orphans", "reuse-port", "cpu-affinity"], "one process owns the listeners, and ends its workers"),
    (
        &["procname", "procname-prefix", "procname-prefix-spaced", "procname-append", "procname-master", "auto-procname"],
        "processes are named after their place in the file",
    ),
    (&["home"], "the variable VIRTUAL_ENV of the server names the virtual environment"),
    (&["touch-reload", "touch-chain-reload", "touch-workers-reload", "fs-reload", "master-fifo"], "`ziggurat reload` or SIGHUP reloads"),
    (&["py-autoreload"], "`ziggurat run --watch` reloads when code changes"),
    (
        &["stats", "stats-server", "stats-http", "memory-report", "carbon", "statsd-push"],
        "`ziggurat status` and the app `metrics` have figures",
    ),
    (
        &["logto", "logger", "req-logger", "log-master", "log-maxsize", "log-reopen", "log-backupname"],
        "the error log is standard error, and `access_log` has `to`",
    ),
    (
        &["log-format", "log-x-forwarded-for", "log-date", "log-4xx", "log-5xx", "log-slow", "log-micros", "log-zero"],
        "`access_log` has `format`; `slow` of the app logs slow requests",
    ),
    (&["plugin", "plugins", "plugins-dir", "need-plugin"], "there are no plug-ins"),
    (&["post-buffering", "post-buffering-bufsize"], "bodies are whole before the app is called; longer ones than `buffer` wait in files"),
    (
        &["offload-threads", "static-gzip", "static-gzip-all", "static-gzip-dir"],
        "static files, also compressed ones, are served by the server's process",
    ),
    (&["static-expires", "static-expires-uri", "static-safe", "static-skip-ext"], "`static` has `max_age`, `immutable` and `symlinks`"),
    (
        &["route", "route-host", "route-uri", "route-run", "final-route", "response-route"],
        "its rules are not read: write a `match` of a route, or the layers `rewrite` and `headers`",
    ),
    (
        &[
            "attach-daemon",
            "attach-daemon2",
            "smart-attach-daemon",
            "cron",
            "cron2",
            "mule",
            "mules",
            "spooler",
            "spooler-processes",
            "timer",
        ],
        "there are no processes beside the workers: run it as a service of its own",
    ),
    (&["cache2", "cache", "queue", "sharedarea", "locks", "lock-engine"], "there is no memory that apps share: use a store of its own"),
    (&["http-timeout", "socket-timeout", "http-connect-timeout"], "`server.header_timeout` and `server.body_timeout` limit slow clients"),
    (
        &["http-keepalive", "http-auto-chunked", "so-keepalive", "http-to", "http-processes"],
        "connections are kept, and responses without a length are chunked",
    ),
    (
        &["emperor", "vassals-include", "emperor-tyrant", "subscribe-to", "fastrouter"],
        "one pipeline has all apps: import each one by itself",
    ),
    (&["ignore-sigpipe", "ignore-write-errors", "disable-write-exception"], "clients that leave are no errors"),
    (&["gevent-monkey-patch", "gevent-early-monkey-patch", "async"], "requests have threads, and no greenlets"),
    (&["http-websockets"], "`websockets` of the app says how many may be open"),
    (&["show-config", "print"], "`ziggurat show` prints all options"),
    (&["umask"], "files that the app writes have the umask of the process: set it in the service"),
    (
        &["exec-asap", "exec-pre-app", "exec-post-app", "hook-post-app", "hook-pre-app", "exec-as-root", "exec-as-user"],
        "commands are not run: let the service run them before",
    ),
    (
        &["ini", "include", "inherit", "xml", "yaml", "json", "config"],
        "only this file is read: import the other one by itself, or put its lines here",
    ),
    (&["import", "shared-import", "py-import", "spooler-import"], "the module of the app imports what it needs"),
    (
        &["enable-proxy-protocol", "http-socket-proxy"],
        "`proxy_protocol` of the listener names the proxies that are believed: write it by hand",
    ),
];

/// Actions of routing rules that answer in place of the app.
const REFUSALS: &[&str] = &["break", "basicauth", "basicauth-next", "ldapauth", "radiusauth", "return", "sslrequired"];

/// Whether this is a rule of uWSGI's internal routing.
pub(super) fn is_route(name: &str) -> bool {
    name.starts_with("route") || name.starts_with("final-route") || name.starts_with("error-route")
}

/// The name of an action that refuses requests.
pub(super) fn refusal(action: &str) -> Option<&'static str> {
    let name = action.split(':').next()?;
    REFUSALS.iter().find(|known| **known == name).copied()
}

/// The name of a letter of the command line.
pub(super) fn letter(letter: char) -> Option<&'static str> {
    LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, name)| *name)
}

/// The name that this option has here.
pub(super) fn canonical(name: &str) -> String {
    let name = name.replace('_', "-");
    ALIASES.iter().find(|names| names.contains(&name.as_str())).map_or(name, |names| names[0].to_owned())
}

pub(super) fn is_flag(name: &str) -> bool {
    FLAGS.contains(&name)
}

/// Why an option has no counterpart; none if it is not known at all.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    DROPPED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// Whether uWSGI has an option of this name, as far as it is known here.
pub(super) fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Names to suggest.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let aliases = ALIASES.iter().flat_map(|names| names.iter().copied());
    let more = FLAGS.iter().copied().chain(DROPPED.iter().flat_map(|(names, _)| names.iter().copied()));
    NAMES.split_whitespace().chain(aliases).chain(more)
}
