//! Middleware of others, and what is asked of it.

use serde_json::{Value, json};

/// A middleware under test.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// As in requirements-test.txt.
    pub(crate) package: &'static str,
    /// The layers, outermost first: JSON.
    layers: &'static str,
    pub(crate) what: &'static str,
    pub(crate) asks: &'static [Ask],
}

impl Case {
    pub(crate) fn layers(&self) -> Vec<Value> {
        let layers: Vec<Value> = serde_json::from_str(self.layers).unwrap();
        layers.into_iter().map(|layer| if layer.is_string() { json!({ "middleware": layer }) } else { layer }).collect()
    }
}

/// A request.
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
    /// Where bodies cannot be the same: which of these words it holds.
    pub(crate) holds: Option<&'static [&'static str]>,
}

const fn get(target: &'static str) -> Ask {
    Ask { method: "GET", target, headers: &[], body: "", holds: None }
}

const fn with(target: &'static str, headers: &'static [(&'static str, &'static str)]) -> Ask {
    Ask { headers, ..get(target) }
}

const fn head(target: &'static str) -> Ask {
    Ask { method: "HEAD", ..get(target) }
}

const fn post(target: &'static str, body: &'static str) -> Ask {
    Ask { method: "POST", headers: &[("content-type", "text/plain")], body, ..get(target) }
}

const fn holding(target: &'static str, words: &'static [&'static str]) -> Ask {
    Ask { holds: Some(words), ..get(target) }
}

/// What every middleware is asked besides its own.
const ALL_KINDS: &[Ask] =
    &[get("/about?a=%20b"), get("/html"), head("/html"), get("/stream"), post("/echo", "a body"), get("/nothing"), get("/missing")];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "Werkzeug `ProxyFix`",
        package: "Werkzeug",
        layers: r#"[{ "middleware": "werkzeug.middleware.proxy_fix:ProxyFix", "kwargs": { "x_host": 1, "x_prefix": 1 } }]"#,
        what: "address, scheme, host and prefix of `X-Forwarded-*`",
        asks: &[
            with("/forwarded", &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "example.com")]),
            with("/forwarded", &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-prefix", "/prefix")]),
        ],
    },
    Case {
        name: "Werkzeug `DispatcherMiddleware`",
        package: "Werkzeug",
        layers: r#"["real:dispatcher"]"#,
        what: "apps by prefix, nested; `SCRIPT_NAME` and `PATH_INFO` in each",
        asks: &[get("/about"), get("/admin"), get("/admin/"), get("/admin/a%2Fb?q"), post("/admin/deep/x", "body"), get("/administer")],
    },
    Case {
        name: "Werkzeug `ProfilerMiddleware`",
        package: "Werkzeug",
        layers: r#"["real:profiler"]"#,
        what: "a profile of each request, native layers and the app below included",
        asks: ALL_KINDS,
    },
    Case {
        name: "Werkzeug `LintMiddleware`",
        package: "Werkzeug",
        layers: r#"["real:strict"]"#,
        what: "environ, input, `start_response`, iteration and `close()`, with every warning an error",
        // It takes a HEAD and a 204 without `Content-Length: 0` for mistakes, whoever serves.
        asks: &[get("/about?a=%20b"), get("/html"), get("/stream"), post("/echo", "a body"), get("/missing")],
    },
    Case {
        name: "Werkzeug `SharedDataMiddleware`",
        package: "Werkzeug",
        layers: r#"["real:shared"]"#,
        what: "files, `HEAD`, a missing file, the app beside them",
        asks: &[get("/shared/style.css"), head("/shared/style.css"), get("/shared/page.txt"), get("/shared/none"), get("/about")],
    },
    Case {
        name: "WhiteNoise",
        package: "whitenoise",
        layers: r#"["real:white_noise"]"#,
        what: "files, `HEAD`, `Range`, a compressed variant, `If-Modified-Since`, the app beside them",
        asks: &[
            get("/assets/style.css"),
            head("/assets/style.css"),
            with("/assets/style.css", &[("accept-encoding", "gzip")]),
            with("/assets/page.txt", &[("range", "bytes=3-9")]),
            with("/assets/page.txt", &[("range", "bytes=99999-")]),
            with("/assets/page.txt", &[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")]),
            get("/assets/none"),
            get("/about"),
        ],
    },
    Case {
        name: "Sentry `SentryWsgiMiddleware`",
        package: "sentry-sdk",
        layers: r#"["real:last_resort", "real:sentry"]"#,
        what: "an exception of the app, with its frames and the request's URL: captured once, then propagated",
        asks: &[
            get("/about"),
            get("/stream"),
            get("/_captured"),
            get("/fails?q=1"),
            get("/_captured"),
            post("/fails", "body"),
            get("/_captured"),
        ],
    },
    Case {
        name: "`wsgiref.validate`",
        package: "wsgiref",
        layers: r#"["wsgiref.validate:validator"]"#,
        what: "all requirements of PEP 3333 on the server above and the stack below",
        asks: &[get("/about?a=%20b"), get("/html"), get("/stream"), get("/nothing"), get("/missing"), post("/echo", "a body")],
    },
    Case {
        name: "`wsgiref.validate` twice",
        package: "wsgiref",
        layers: r#"["wsgiref.validate:validator", "wsgiref.validate:validator"]"#,
        what: "the same on both sides of native layers",
        asks: &[get("/about?a=%20b"), get("/html"), get("/stream"), get("/nothing"), get("/missing"), post("/echo", "a body")],
    },
    Case {
        name: "Paste `gzipper`",
        package: "Paste",
        layers: r#"["paste.gzipper:middleware"]"#,
        what: "compressed pages and streams, and plain ones",
        asks: &[
            with("/html", &[("accept-encoding", "gzip")]),
            with("/stream", &[("accept-encoding", "gzip")]),
            get("/html"),
            get("/about"),
        ],
    },
    Case {
        name: "Paste `TransLogger`",
        package: "Paste",
        layers: r#"["real:translogger"]"#,
        what: "one line per request, with status and length",
        asks: &[get("/html"), get("/a%20b?q=1"), get("/missing"), post("/echo", "a body"), get("/_logged")],
    },
    Case {
        name: "Paste `errordocument`",
        package: "Paste",
        layers: r#"["real:error_documents"]"#,
        what: "a page of the app in place of a 404: an exception passes through the stack, which is then called again",
        asks: &[get("/missing"), get("/about"), get("/html")],
    },
    Case {
        name: "Paste `RecursiveMiddleware`",
        package: "Paste",
        layers: r#"["real:recursive"]"#,
        what: "the app forwards (by an exception) and includes (by a call of the whole stack)",
        asks: &[get("/forward"), get("/include"), get("/about")],
    },
    Case {
        name: "Paste `ErrorMiddleware`",
        package: "Paste",
        layers: r#"["real:error_catcher"]"#,
        what: "an error page for an exception of the app",
        asks: &[
            holding("/fails", &["ValueError", "on purpose", "in fails"]),
            holding("/fails_midway", &["begun", "ValueError", "midway"]),
            get("/about"),
            get("/stream"),
        ],
    },
    Case {
        name: "WebOb `wsgify.middleware`",
        package: "WebOb",
        layers: r#"["real:stamp"]"#,
        what: "a filter of requests and responses that rewrites pages",
        asks: ALL_KINDS,
    },
    Case {
        name: "Beaker `SessionMiddleware`",
        package: "Beaker",
        layers: r#"["real:sessions"]"#,
        what: "a session kept over several requests by its cookie",
        asks: &[get("/session"), get("/session"), get("/html"), get("/session")],
    },
    Case {
        name: "all at once",
        package: "",
        layers: r#"["real:last_resort", "wsgiref.validate:validator", { "middleware": "werkzeug.middleware.proxy_fix:ProxyFix" }, "real:sentry", "real:stamp",
            "real:white_noise", "real:sessions", "real:strict", "real:dispatcher"]"#,
        what: "nine layers in one order",
        asks: &[
            with("/forwarded", &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https")]),
            get("/html"),
            get("/stream"),
            post("/echo", "a body"),
            get("/missing"),
            get("/session"),
            get("/assets/page.txt"),
            get("/admin/x"),
            get("/fails"),
            get("/_captured"),
        ],
    },
];
