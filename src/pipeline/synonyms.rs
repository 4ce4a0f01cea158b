//! Names that other servers use for what has another name here.

/// A hint for a layer or a kind of app that has another name here.
pub(super) fn of_kind(name: &str) -> Option<String> {
    let name = plain(name);
    KINDS.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, hint)| (*hint).to_owned())
}

/// A hint for an option of `owner`, or a key of the pipeline, that has another name or another place here. `known` are the keys that the owner has.
pub(super) fn of_option(owner: &str, name: &str, known: &[&str]) -> Option<String> {
    let name = plain(name);
    let of_owner = OPTIONS.iter().find(|(owners, names, _)| owners.iter().any(|o| owner.ends_with(o)) && names.contains(&name.as_str()));
    if let Some((.., hint)) = of_owner {
        return Some((*hint).to_owned());
    }
    let is_of_process = !owner.ends_with("`wsgi`") && PROCESS.contains(&name.as_str());
    is_of_process.then(|| {
        if known.contains(&"wsgi") {
            format!("it is an option of the app: write `\"wsgi\": {{ \"{name}\": ... }}` here")
        } else {
            format!("it is an option of the app: write `\"app\": {{ \"wsgi\": {{ \"app\": \"hello:app\", \"{name}\": ... }} }}`")
        }
    })
}

/// Options of the `wsgi` app that other servers have for the whole server.
const PROCESS: &[&str] = &["workers", "threads", "preload", "deadline", "recycle", "websockets"];

const KINDS: &[(&[&str], &str)] = &[
    (
        &["proxy_cache", "http_cache", "varnish", "cache_page", "caching", "souin"],
        "responses are stored by the layer `cache`: `{ \"cache\": { \"total_memory\": \"64MiB\" } }`",
    ),
    (
        &["gzip", "brotli", "br", "zstd", "deflate", "compression", "encode", "gzip_middleware"],
        "compression is the layer `compress`: `{ \"compress\": { \"with\": [\"zstd\", \"br\", \"gzip\"] } }`",
    ),
    (
        &["whitenoise", "white_noise", "staticfiles", "static_files", "file_server", "files", "alias", "shared_data"],
        "files are served by `static`: `{ \"static\": { \"at\": \"/static\", \"root\": \"staticfiles\" } }`",
    ),
    (
        &["proxy_fix", "proxyfix", "real_ip", "realip", "remoteip", "proxy_headers", "x_forwarded_for", "xforwarded"],
        "what proxies say of the client is judged by the layer `forwarded`: `{ \"forwarded\": { \"trust\": \"10.0.0.0/8\" } }`",
    ),
    (&["log", "logger", "logging", "accesslog", "access_logs"], "requests are logged by the layer `access_log`"),
    (&["auth", "htpasswd", "auth_basic", "basicauth", "http_auth"], "passwords are checked by the layer `basic_auth`"),
    (
        &["auth_request", "forwardauth", "ext_authz", "external_auth", "authelia", "authentik", "oauth2_proxy"],
        "another server is asked by the layer `forward_auth`: `{ \"forward_auth\": \"http://127.0.0.1:9091/check\" }`",
    ),
    (&["bearer", "token", "jwks", "auth_jwt", "bearer_auth", "jwt_auth"], "signed tokens are checked by the layer `jwt`"),
    (&["openid", "openid_connect", "auth_openidc", "sso", "login", "oauth", "oauth2"], "people log in at a provider by the layer `oidc`"),
    (&["key_auth", "keyauth", "apikey", "api_keys", "key", "keys"], "keys are checked by the layer `api_key`: `{ \"api_key\": \"keys\" }`"),
    (
        &["client_max_body_size", "limit_request_body", "request_body", "max_body_size"],
        "the size of request bodies is limited by the layer `body_limit`: `{ \"body_limit\": \"10MiB\" }`",
    ),
    (
        &["limit_req", "limit_req_zone", "ratelimit", "throttle", "throttling", "limiter", "slowapi", "flask_limiter", "stick_table"],
        "requests in a time are limited by the layer `rate_limit`: `{ \"rate_limit\": { \"allow\": \"100/s\", \"per\": \"client\" } }`",
    ),
    (
        &[
            "limit_conn",
            "limit_conn_zone",
            "maxconn",
            "concurrency",
            "concurrency_limit",
            "in_flight",
            "inflightreq",
            "in_flight_req",
            "max_concurrent",
        ],
        "requests under way are limited by the layer `limit`: `{ \"limit\": { \"at_most\": 20, \"per\": \"client\" } }`",
    ),
    (
        &[
            "allow",
            "deny",
            "ip_allow_list",
            "ipallowlist",
            "ipwhitelist",
            "ip_white_list",
            "ip_whitelist",
            "remote_ip",
            "allow_from",
            "acl",
            "require",
        ],
        "clients are let in or refused by the layer `access`: `{ \"access\": [{ \"allow\": \"10.0.0.0/8\" }] }`",
    ),
    (&["requestdecompression", "gunzip", "inflate"], "request bodies are decoded by the layer `decompress`"),
    (&["hsts", "helmet", "secure", "security"], "these headers are set by the layer `security_headers`"),
    (&["header", "add_header", "set_header"], "headers are changed by the layer `headers`"),
    (&["x_sendfile", "xsendfile", "x_accel", "x_accel_redirect"], "files that the app names are sent by the layer `sendfile`"),
    (&["error_page", "error_pages", "handle_errors"], "pages of your own for errors are served by the layer `errors`"),
    (&["uri", "strip_prefix", "replace_path"], "paths are changed by the layer `rewrite`, or by the `mount` of a route"),
    (
        &["reverse_proxy", "proxy_pass", "upstream", "http_proxy"],
        "other servers are asked by the app `proxy`: `{ \"proxy\": \"http://127.0.0.1:9000\" }`",
    ),
    (&["return", "response", "static_response"], "a fixed response is the app `respond`: `{ \"respond\": 404 }`"),
    (&["redir", "redirects"], "redirects are the app `redirect`: `{ \"redirect\": \"https://{host}{path}{query}\" }`"),
    (&["python", "flask", "gunicorn", "mod_wsgi", "wsgi_app", "application"], "a WSGI app is written `{ \"wsgi\": \"module:callable\" }`"),
    (&["asgi", "uvicorn", "fastapi", "starlette", "hypercorn"], "ASGI apps run under a server of their own, behind the app `proxy`"),
];

/// Whose option it is (the end of the owner's title), its names elsewhere, and the hint.
const OPTIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &["`wsgi`"],
        &["timeout", "harakiri", "request_timeout", "socket_timeout"],
        "the time until the app has to begin its response is `deadline`",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["graceful_timeout", "worker_reload_mercy", "stop_timeout"],
        "the time that requests have to finish is `drain` of `server`",
    ),
    (
        &["`wsgi`"],
        &["max_requests", "max_requests_jitter", "max_worker_lifetime", "reload_on_rss", "workers_lifetime", "limit_max_requests"],
        "workers are replaced by `recycle`: `{ \"recycle\": { \"requests\": 10000 } }`",
    ),
    (&["`wsgi`"], &["processes", "process", "worker_processes", "num_workers", "web_concurrency"], "the number of processes is `workers`"),
    (
        &["`wsgi`"],
        &["worker_class", "worker_connections", "gevent", "async", "greenlets"],
        "an app runs in `workers` processes with `threads` threads each; there are no classes of workers",
    ),
    (
        &["`wsgi`"],
        &["chdir", "pythonpath", "python_path", "sys_path", "directory"],
        "the folders that modules are imported from are `path`",
    ),
    (&["`wsgi`", "`server`"], &["uid", "run_as", "username", "runas"], "the user is `user`, by name or number"),
    (&["`wsgi`", "`server`"], &["gid", "groupname"], "the group is `group`, by name or number"),
    (
        &["the pipeline"],
        &["user", "uid", "group", "gid"],
        "the user that the server becomes is an option of `server`: `\"server\": { \"user\": \"www-data\" }`",
    ),
    (
        &["`listen`"],
        &["accept_proxy", "proxy", "send_proxy", "haproxy", "proxyprotocol"],
        "the PROXY protocol is `\"proxy_protocol\": { \"trust\": [\"10.0.0.0/8\"] }`",
    ),
    (&["`proxy`"], &["send_proxy", "send_proxy_v2", "proxyprotocol"], "the PROXY protocol is `\"proxy_protocol\": \"v2\"`"),
    (&["`wsgi`"], &["preload_app", "lazy_apps", "fork"], "importing the app once for all workers is `preload`"),
    (&["`wsgi`"], &["module", "callable", "target", "application", "wsgi_file", "import"], "the callable is `app`: `\"module:callable\"`"),
    (&["`wsgi`"], &["environment", "envs", "environ", "raw_env", "setenv"], "variables of the app's environment are `env`"),
    (
        &["`wsgi`"],
        &["virtualenv", "venv", "home", "python_home"],
        "the virtual environment is the active one: the variable VIRTUAL_ENV of the server names it",
    ),
    (
        &["`wsgi`", "`django`", "`server`", "the pipeline"],
        &["bind", "host", "port", "address", "addr", "socket", "http", "http_socket", "binds"],
        "addresses are `listen`, at the top of the file: `\"listen\": \"0.0.0.0:8000\"`",
    ),
    (&["`wsgi`", "`django`", "`server`"], &["listen"], "`listen` belongs at the top of the file, beside `app`"),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["accesslog", "access_log_format", "access_logformat", "access_log"],
        "requests are logged by the layer `access_log`",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["loglevel", "log_level", "errorlog", "error_log", "logto", "log"],
        "the error log is standard error; the variable ZIGGURAT_LOG sets its level",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["forwarded_allow_ips", "proxy_headers", "proxy_allow_ips", "set_real_ip_from", "trusted_proxies", "secure_scheme_headers"],
        "proxies are trusted by the layer `forwarded`: `{ \"forwarded\": { \"trust\": \"10.0.0.0/8\" } }`",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["static_map", "check_static", "staticfiles", "document_root"],
        "files are served by the layer `static`",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["client_max_body_size", "limit_request_body", "max_body_size", "max_request_body_size"],
        "the size of request bodies is limited by the layer `body_limit`",
    ),
    (
        &["`wsgi`", "`server`", "the pipeline"],
        &["reload", "touch_reload", "py_autoreload", "py_auto_reload", "watch"],
        "`ziggurat run --watch` reloads when code changes",
    ),
    (
        &["`server`", "the pipeline"],
        &["keepalive", "keepalive_timeout", "timeout_keep_alive"],
        "the time that an idle connection stays open is `keep_alive` of `server`",
    ),
    (&["`server`"], &["client_header_timeout", "read_header_timeout"], "the time for a request's head is `header_timeout`"),
    (&["`server`"], &["client_body_timeout", "read_timeout"], "the time between octets of a request's body is `body_timeout`"),
    (&["`server`"], &["worker_connections", "backlog", "limit_concurrency"], "the number of connections is `max_connections`"),
    (
        &["`server`"],
        &["limit_request_fields", "large_client_header_buffers", "limit_request_field_size", "limit_request_line"],
        "the bounds of a request's head are `max_header_size` and `max_headers`",
    ),
    (&["the pipeline"], &["middleware", "middlewares", "plugins", "filters"], "layers are `layers`: a list, outermost first"),
    (&["the pipeline"], &["upstream", "upstreams", "backend", "backends"], "other servers are asked by the app `proxy`"),
    (
        &["the pipeline"],
        &["location", "locations", "handle", "rules", "paths"],
        "routes are a kind of app: `\"app\": { \"routes\": [...] }`",
    ),
    (
        &["`proxy`"],
        &["url", "urls", "server", "servers", "upstream", "upstreams", "backend", "backends", "proxy_pass", "dial"],
        "the upstream servers are `to`",
    ),
    (&["`proxy`"], &["lb_policy", "lb", "algorithm", "policy"], "the choice of an endpoint is `balance`"),
    (&["`proxy`"], &["connect_timeout", "proxy_connect_timeout", "dial_timeout"], "the time to a connection is `connect`"),
    (
        &["`proxy`"],
        &["read_timeout", "proxy_read_timeout", "response_header_timeout"],
        "the time to the response's head is `timeout`, the time between octets is `idle`",
    ),
    (&["`proxy`"], &["max_conns", "max_connections", "maxconn"], "the number of requests at one endpoint is `limit`"),
    (&["`proxy`"], &["health_check", "healthcheck", "check", "health_uri"], "health checks are `health`: `{ \"path\": \"/healthz\" }`"),
    (&["`proxy`"], &["max_fails", "fail_timeout", "outlier_detection", "passive_health"], "endpoints that fail are left out by `eject`"),
    (&["`proxy`"], &["proxy_next_upstream", "retries", "lb_retries"], "attempts are limited by `retry`"),
    (&["`proxy`"], &["preserve_host", "host_header", "header_up"], "the `Host` that the upstream sees is `host`"),
    (
        &["`access`"],
        &["allow", "deny", "order"],
        "the rules are a list, in the order in which they are tried: `{ \"access\": [{ \"deny\": \"10.0.0.7\" }, { \"allow\": \"10.0.0.0/8\" }] }`",
    ),
    (&["`rate_limit`"], &["rate", "rps", "requests", "average", "limit", "events"], "the requests in a time are `allow`: `\"100/s\"`"),
    (
        &["`rate_limit`", "`limit`"],
        &["key", "zone", "by", "source", "source_criterion"],
        "what requests are counted by is `per`: `\"client\"`",
    ),
    (&["`rate_limit`"], &["limit_req_dry_run", "report_only"], "a trial is `\"dry_run\": true`"),
    (&["`rate_limit`"], &["whitelist", "allowlist", "except", "skip"], "clients without a limit are `exempt`: `[\"10.0.0.0/8\"]`"),
    (&["`limit`"], &["max", "amount", "requests", "connections", "concurrency"], "the most requests under way are `at_most`"),
    (&["`static`"], &["path", "dir", "directory", "folder", "document_root", "alias"], "the folder of the files is `root`"),
    (&["`static`"], &["url", "prefix", "mount"], "the path of the URLs is `at`"),
    (
        &["`forwarded`"],
        &["x_for", "x_proto", "x_host", "x_prefix", "num_proxies", "hops", "depth"],
        "proxies are named by their addresses: `trust`",
    ),
];

/// Upper case and hyphens do not distinguish names.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_").trim_start_matches("__").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_servers_lead_to_ours() {
        for (owner, name, ours) in [
            ("app `wsgi`", "max-requests", "recycle"),
            ("app `wsgi`", "timeout", "deadline"),
            ("`server`", "bind", "listen"),
            ("the pipeline", "workers", "workers"),
            ("app `django`", "workers", "workers"),
            ("app `proxy`", "lb_policy", "balance"),
        ] {
            let hint = of_option(owner, name, &["app"]).unwrap_or_default();
            assert!(hint.contains(ours), "{owner} {name}: {hint}");
        }
        assert_eq!(of_option("app `wsgi`", "workrs", &[]), None);
        for (name, ours) in [
            ("limit_req", "rate_limit"),
            ("limit_conn", "`limit`"),
            ("throttle", "rate_limit"),
            ("deny", "`access`"),
            ("ipAllowList", "`access`"),
        ] {
            assert!(of_kind(name).is_some_and(|hint| hint.contains(ours)), "{name}");
        }
        assert!(of_option("layer `access`", "allow", &["rules"]).is_some_and(|hint| hint.contains("list")));
        assert!(of_option("layer `rate_limit`", "key", &[]).is_some_and(|hint| hint.contains("`per`")));
        assert!(of_kind("GZip").is_some_and(|hint| hint.contains("compress")));
    }
}
