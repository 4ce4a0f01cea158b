//! gunicorn's settings: their options of the command line, and why some of them have no counterpart.

use crate::pipeline::closest;

/// A bound on a name that is compared with others.
const LONGEST_NAME: usize = 64;

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Value,
    /// A value; the option may be repeated.
    Values,
    Nothing,
}

use Takes::{Nothing, Value, Values};

/// Settings with options.
pub(super) const OPTIONS: &[(&str, &[&str], Takes)] = &[
    ("config", &["-c", "--config"], Value),
    ("bind", &["-b", "--bind"], Values),
    ("backlog", &["--backlog"], Value),
    ("workers", &["-w", "--workers"], Value),
    ("worker_class", &["-k", "--worker-class"], Value),
    ("threads", &["--threads"], Value),
    ("worker_connections", &["--worker-connections"], Value),
    ("max_requests", &["--max-requests"], Value),
    ("max_requests_jitter", &["--max-requests-jitter"], Value),
    ("timeout", &["-t", "--timeout"], Value),
    ("graceful_timeout", &["--graceful-timeout"], Value),
    ("keepalive", &["--keep-alive"], Value),
    ("limit_request_line", &["--limit-request-line"], Value),
    ("limit_request_fields", &["--limit-request-fields"], Value),
    ("limit_request_field_size", &["--limit-request-field_size"], Value),
    ("reload", &["--reload"], Nothing),
    ("reload_engine", &["--reload-engine"], Value),
    ("reload_extra_files", &["--reload-extra-file"], Values),
    ("spew", &["--spew"], Nothing),
    ("check_config", &["--check-config"], Nothing),
    ("print_config", &["--print-config"], Nothing),
    ("preload_app", &["--preload"], Nothing),
    ("sendfile", &["--no-sendfile"], Nothing),
    ("reuse_port", &["--reuse-port"], Nothing),
    ("chdir", &["--chdir"], Value),
    ("daemon", &["-D", "--daemon"], Nothing),
    ("raw_env", &["-e", "--env"], Values),
    ("pidfile", &["-p", "--pid"], Value),
    ("worker_tmp_dir", &["--worker-tmp-dir"], Value),
    ("user", &["-u", "--user"], Value),
    ("group", &["-g", "--group"], Value),
    ("umask", &["-m", "--umask"], Value),
    ("initgroups", &["--initgroups"], Nothing),
    ("forwarded_allow_ips", &["--forwarded-allow-ips"], Value),
    ("accesslog", &["--access-logfile"], Value),
    ("disable_redirect_access_to_syslog", &["--disable-redirect-access-to-syslog"], Nothing),
    ("access_log_format", &["--access-logformat"], Value),
    ("errorlog", &["--error-logfile", "--log-file"], Value),
    ("loglevel", &["--log-level"], Value),
    ("capture_output", &["--capture-output"], Nothing),
    ("logger_class", &["--logger-class"], Value),
    ("logconfig", &["--log-config"], Value),
    ("logconfig_json", &["--log-config-json"], Value),
    ("syslog_addr", &["--log-syslog-to"], Value),
    ("syslog", &["--log-syslog"], Nothing),
    ("syslog_prefix", &["--log-syslog-prefix"], Value),
    ("syslog_facility", &["--log-syslog-facility"], Value),
    ("enable_stdio_inheritance", &["-R", "--enable-stdio-inheritance"], Nothing),
    ("statsd_host", &["--statsd-host"], Value),
    ("dogstatsd_tags", &["--dogstatsd-tags"], Value),
    ("statsd_prefix", &["--statsd-prefix"], Value),
    ("enable_backlog_metric", &["--enable-backlog-metric"], Nothing),
    ("proc_name", &["-n", "--name"], Value),
    ("pythonpath", &["--pythonpath"], Value),
    ("paste", &["--paste", "--paster"], Value),
    ("raw_paste_global_conf", &["--paste-global"], Values),
    ("proxy_protocol", &["--proxy-protocol"], Value),
    ("proxy_allow_ips", &["--proxy-allow-from"], Value),
    ("protocol", &["--protocol"], Value),
    ("uwsgi_allow_ips", &["--uwsgi-allow-from"], Value),
    ("keyfile", &["--keyfile"], Value),
    ("certfile", &["--certfile"], Value),
    ("ssl_version", &["--ssl-version"], Value),
    ("cert_reqs", &["--cert-reqs"], Value),
    ("ca_certs", &["--ca-certs"], Value),
    ("suppress_ragged_eofs", &["--suppress-ragged-eofs"], Nothing),
    ("do_handshake_on_connect", &["--do-handshake-on-connect"], Nothing),
    ("ciphers", &["--ciphers"], Value),
    ("permit_obsolete_folding", &["--permit-obsolete-folding"], Nothing),
    ("strip_header_spaces", &["--strip-header-spaces"], Nothing),
    ("permit_unconventional_http_method", &["--permit-unconventional-http-method"], Nothing),
    ("permit_unconventional_http_version", &["--permit-unconventional-http-version"], Nothing),
    ("casefold_http_method", &["--casefold-http-method"], Nothing),
    ("forwarder_headers", &["--forwarder-headers"], Value),
    ("header_map", &["--header-map"], Value),
    ("root_path", &["--root-path"], Value),
    ("http_protocols", &["--http-protocols"], Value),
    ("http_parser", &["--http-parser"], Value),
    ("http2_cleartext", &["--http2-cleartext"], Value),
    ("http2_max_concurrent_streams", &["--http2-max-concurrent-streams"], Value),
    ("http2_initial_window_size", &["--http2-initial-window-size"], Value),
    ("http2_max_frame_size", &["--http2-max-frame-size"], Value),
    ("http2_max_header_list_size", &["--http2-max-header-list-size"], Value),
    ("websocket_max_message_size", &["--websocket-max-message-size"], Value),
    ("asgi_loop", &["--asgi-loop"], Value),
    ("asgi_lifespan", &["--asgi-lifespan"], Value),
    ("asgi_disconnect_grace_period", &["--asgi-disconnect-grace-period"], Value),
    ("control_socket", &["--control-socket"], Value),
    ("control_socket_mode", &["--control-socket-mode"], Value),
    ("control_socket_disable", &["--no-control-socket"], Nothing),
    ("dirty_apps", &["--dirty-app"], Values),
    ("dirty_workers", &["--dirty-workers"], Value),
    ("dirty_timeout", &["--dirty-timeout"], Value),
    ("dirty_threads", &["--dirty-threads"], Value),
    ("dirty_graceful_timeout", &["--dirty-graceful-timeout"], Value),
];

/// Settings that only the file has.
pub(super) const OF_FILE: &[&str] = &["wsgi_app", "tmp_upload_dir", "secure_scheme_headers", "logconfig_dict", "default_proc_name"];

/// Functions that gunicorn calls.
pub(super) const HOOKS: &[&str] = &[
    "on_starting",
    "on_reload",
    "when_ready",
    "pre_fork",
    "post_fork",
    "post_worker_init",
    "worker_int",
    "worker_abort",
    "pre_exec",
    "pre_request",
    "post_request",
    "child_exit",
    "worker_exit",
    "nworkers_changed",
    "on_exit",
    "ssl_context",
    "on_dirty_starting",
    "dirty_post_fork",
    "dirty_worker_init",
    "dirty_worker_exit",
];

/// Why settings have no counterpart.
const DROPPED: &[(&[&str], &str)] = &[
    (&["daemon", "pidfile"], "the server stays in the foreground, for systemd or a container to watch"),
    (&["proc_name", "default_proc_name"], "processes are named after their place in the file"),
    (&["reload", "reload_engine", "reload_extra_files"], "`ziggurat run --watch` reloads when code changes"),
    (&["spew", "print_config"], "it is for debugging; `ziggurat show` prints all options"),
    (&["check_config"], "`ziggurat check` does this"),
    (&["backlog"], "connections are accepted at once, and requests wait in the queue of the app: `queue`"),
    (&["sendfile"], "files of `wsgi.file_wrapper` are sent by the server's process"),
    (&["reuse_port"], "one process owns the listeners"),
    (&["worker_tmp_dir"], "workers have no heartbeat files"),
    (&["errorlog"], "the error log is standard error: redirect it, or leave it to systemd or the container"),
    (&["loglevel"], "the variable ZIGGURAT_LOG sets the level: error, warn, info, debug or trace"),
    (
        &["logger_class", "logconfig", "logconfig_dict", "logconfig_json"],
        "the server's log is not Python's. The app sets up its own logging, as before",
    ),
    (
        &["syslog", "syslog_addr", "syslog_prefix", "syslog_facility", "disable_redirect_access_to_syslog"],
        "the log is standard error, which systemd passes on to syslog",
    ),
    (&["statsd_host", "statsd_prefix", "dogstatsd_tags", "enable_backlog_metric"], "the app `metrics` has figures for Prometheus"),
    (&["ssl_version"], "TLS 1.2 and 1.3 are spoken; `min` of `tls` is the oldest version"),
    (&["ciphers"], "the cipher suites are those of rustls"),
    (&["suppress_ragged_eofs", "do_handshake_on_connect"], "the event loop shakes hands"),
    (
        &[
            "permit_obsolete_folding",
            "strip_header_spaces",
            "permit_unconventional_http_method",
            "permit_unconventional_http_version",
            "casefold_http_method",
            "http_parser",
        ],
        "requests that RFC 9112 calls malformed are refused",
    ),
    (&["header_map", "forwarder_headers"], "headers with underscores are dropped, because they are taken for others in the environ"),
    (&["root_path", "asgi_loop", "asgi_lifespan", "asgi_disconnect_grace_period"], "it is for ASGI"),
    (
        &[
            "http2_cleartext",
            "http2_max_concurrent_streams",
            "http2_initial_window_size",
            "http2_max_frame_size",
            "http2_max_header_list_size",
        ],
        "HTTP/2 has limits of its own: docs/limits.md",
    ),
    (&["websocket_max_message_size"], "messages of WebSockets pass through"),
    (&["control_socket", "control_socket_mode"], "there is no control socket, unless `server.control` names one"),
    (
        &["dirty_apps", "dirty_workers", "dirty_timeout", "dirty_threads", "dirty_graceful_timeout"],
        "there are no processes beside the workers: run a task queue",
    ),
    (&["config"], "only the last one is read"),
    (&["raw_paste_global_conf"], "without `paste` it has no effect"),
];

/// Why a setting has no counterpart.
pub(super) fn reason(setting: &str) -> &'static str {
    let known = DROPPED.iter().find(|(names, _)| names.contains(&setting));
    known.map_or("there is no counterpart", |(_, reason)| reason)
}

/// The setting of this name, in a file.
pub(super) fn setting(name: &str) -> Option<&'static str> {
    OPTIONS.iter().map(|(setting, ..)| *setting).chain(OF_FILE.iter().copied()).find(|setting| *setting == name)
}

/// The option of the command line; a long one may be cut short, as long as no other begins alike.
pub(super) fn option(flag: &str) -> Option<(&'static str, Takes)> {
    let exact = OPTIONS.iter().find(|(_, flags, _)| flags.contains(&flag));
    let mut begin_alike = OPTIONS.iter().filter(|(_, flags, _)| flag.len() > 3 && flags.iter().any(|known| known.starts_with(flag)));
    let only = begin_alike.next().filter(|_| begin_alike.next().is_none());
    exact.or(only).map(|(setting, _, takes)| (*setting, *takes))
}

/// The name that is meant by one that is not known.
pub(super) fn suggestion<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A comparison takes time by the length of both.
    if written.len() <= LONGEST_NAME { closest(written, known) } else { None }
}

/// Every setting that a file or a command line may have.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(setting, ..)| *setting).chain(OF_FILE.iter().copied()).chain(HOOKS.iter().copied())
}
