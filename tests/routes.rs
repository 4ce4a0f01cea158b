//! `routes`, `respond` and `redirect`, built from a file and asked in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::path::Path;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;
use tower::service_fn;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{
    App, Behavior, Body, ConnectionInfo, Context, Deadline, Finding, IntoApp, Lifecycle, Mount, Next, Request, ReserveClass, Response,
    Scheme, request,
};

/// Answers with its name and what it sees of the request's path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Echo {
    name: String,
}

impl App for Echo {
    const NAME: &'static str = "echo";
    const SHORTHAND: Option<&'static str> = Some("name");

    fn app(self, _: &Context) -> Result<impl IntoApp, Finding> {
        let name: std::sync::Arc<str> = self.name.into();
        Ok(service_fn(move |request: Request| {
            let mount = request.extensions().get::<Mount>().map(|mount| format!(" in {} of {}", mount.prefix, mount.target));
            let text = format!("{name} {}{}", request.uri(), mount.unwrap_or_default());
            async move { Ok::<_, Infallible>(Response::new(Body::from(text))) }
        }))
    }
}

struct Site(Next);

impl Site {
    /// The app of a pipeline, as JSON.
    fn of(app: &str) -> Self {
        let text = format!("{{ \"app\": {app} }}");
        let registry = ziggurat::builtin().app::<Echo>();
        let pipeline =
            Pipeline::from_text("pipeline.json", &text, Path::new(""), &registry, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        Self(pipeline.build(&Lifecycle::default()).unwrap_or_else(|report| panic!("{report}")))
    }

    async fn ask(&self, request: Request) -> (StatusCode, http::HeaderMap, String) {
        let (parts, body) = self.0.clone().run(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, target: &str) -> String {
        let (status, _, body) = self.ask(request(Method::GET, target, Body::empty())).await;
        if status == StatusCode::OK { body } else { status.as_str().to_owned() }
    }

    async fn location(&self, target: &str, host: &str) -> String {
        let mut request = request(Method::GET, target, Body::empty());
        request.headers_mut().insert("host", host.parse().unwrap());
        let (status, headers, _) = self.ask(request).await;
        headers.get("location").map_or_else(|| status.as_str().to_owned(), |location| location.to_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn the_first_route_that_matches_takes_the_request() {
    let site = Site::of(
        r#"{ "routes": [
            { "match": { "path": "/exact" }, "app": { "echo": "exact" } },
            { "match": { "path": "/api/*" }, "app": { "echo": "api" } },
            { "match": { "path": ["/a", "/b/*"], "query": { "v": "2" } }, "app": { "echo": "list" } },
            { "match": { "host": "test", "path": "/host" }, "app": { "echo": "host" } }
        ] }"#,
    );
    for (target, answer) in [
        ("/exact?x", "exact /exact?x"),
        ("/exact/", "404"),
        ("/api", "api /api"),
        ("/api/x", "api /api/x"),
        ("/apix", "404"),
        ("/a?v=2", "list /a?v=2"),
        ("/b/c?u=1&v=2", "list /b/c?u=1&v=2"),
        ("/a?v=3", "404"),
        ("/a", "404"),
        ("/host", "host /host"),
    ] {
        assert_eq!(site.get(target).await, answer, "{target}");
    }
}

#[tokio::test]
async fn percent_encoding_does_not_lead_past_a_route() {
    let site = Site::of(r#"{ "routes": [{ "match": { "path": "/admin/*" }, "app": { "respond": 403 } }, { "app": { "echo": "rest" } }] }"#);
    for target in ["/admin", "/admin/x", "/%61dmin/x", "/admin%2Fx", "/admin%2fx", "%2Fadmin/x", "/%61%64%6d%69%6e"] {
        let target = if target.starts_with('/') { target.to_owned() } else { format!("http://test/{}", &target[3..]) };
        assert_eq!(site.get(&target).await, "403", "{target}");
    }
    for target in ["/x/../admin/x", "/x/%2e%2e/admin", "/./admin", "/x%2f..%2fadmin", "/..", "/x\\..\\admin"] {
        let Ok(uri) = target.parse::<http::Uri>() else { continue };
        assert_eq!(site.get(&uri.to_string()).await, "400", "{target}");
    }
    assert_eq!(site.get("/adminx/..x/.y").await, "rest /adminx/..x/.y");
}

#[tokio::test]
async fn methods_and_headers_choose_too() {
    let site = Site::of(
        r#"{ "routes": [
            { "match": { "method": "GET", "header": { "X-Beta": true } }, "app": { "respond": 201 } },
            { "match": { "header": { "accept": ["a", "b"] } }, "app": { "respond": 202 } },
            { "match": { "method": ["GET"] }, "app": { "respond": 203 } },
            { "app": { "respond": 206 } }
        ] }"#,
    );
    for (method, headers, status) in [
        (Method::GET, &[("x-beta", "")][..], 201),
        (Method::HEAD, &[("x-beta", "1")], 201),
        (Method::POST, &[("x-beta", "1")], 206),
        (Method::POST, &[("accept", "c"), ("accept", "b")], 202),
        (Method::POST, &[("accept", "a, b")], 206),
        (Method::GET, &[], 203),
        (Method::HEAD, &[], 203),
    ] {
        let mut request = request(method.clone(), "/", Body::empty());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        assert_eq!(site.ask(request).await.0, status, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn a_mount_hides_its_prefix() {
    let site = Site::of(
        r#"{ "routes": [
            { "mount": "/blog", "match": { "method": "GET" }, "app": { "routes": [
                { "match": { "path": "/feed" }, "app": { "echo": "feed" } },
                { "mount": "/a b", "app": { "echo": "deep" } },
                { "app": { "echo": "blog" } }
            ] } },
            { "app": { "echo": "rest" } }
        ] }"#,
    );
    for (target, answer) in [
        ("/blog/feed?x", "feed /feed?x in /blog of /blog/feed?x"),
        ("/blog", "blog / in /blog of /blog"),
        ("/blog/", "blog / in /blog of /blog/"),
        ("/blog/a%20b/c", "deep /c in /blog/a%20b of /blog/a%20b/c"),
        ("/blogs", "rest /blogs"),
    ] {
        assert_eq!(site.get(target).await, answer, "{target}");
    }
}

/// Stands in for the app of this name: answers with the facts that routes left, and what it keeps.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wsgi {}

impl App for Wsgi {
    const NAME: &'static str = "wsgi";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::RunsPython];

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let kept: Vec<(u32, usize)> = context.reserves().iter().map(|reserve| (reserve.class.0, reserve.threads)).collect();
        Ok(service_fn(move |request: Request| {
            let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0.as_secs());
            let class = request.extensions().get::<ReserveClass>().map(|class| class.0);
            let text = format!("{deadline:?} {class:?} of {kept:?}");
            async move { Ok::<_, Infallible>(Response::new(Body::from(text))) }
        }))
    }
}

#[tokio::test]
async fn a_route_tells_the_app_its_deadline_and_its_reserve() {
    let text = r#"{
        "app": { "routes": [
            { "match": { "path": "/login" }, "reserve": 2, "deadline": "5s", "app": "shop" },
            { "match": { "path": "/admin/*" }, "reserve": 3, "deadline": "60s", "app": { "routes": [
                { "match": { "path": "/admin/probe" }, "reserve": 1, "app": "shop" },
                { "match": { "path": "/admin/slow" }, "deadline": "90s", "app": "shop" },
                { "match": { "path": "/admin/blog" }, "app": { "wsgi": {} } }
            ] } },
            { "app": "shop" }
        ] },
        "apps": { "shop": { "layers": ["headers"], "app": { "wsgi": {} } } }
    }"#;
    let registry = ziggurat::builtin().app::<Wsgi>();
    let pipeline = Pipeline::from_text("pipeline.json", text, Path::new(""), &registry, &|_| None).unwrap();
    let site = Site(pipeline.build(&Lifecycle::default()).unwrap());
    for (target, answer) in [
        ("/login", "Some(5) Some(1) of [(1, 2), (2, 3), (3, 1)]"),
        ("/admin/probe", "Some(60) Some(3) of [(1, 2), (2, 3), (3, 1)]"),
        ("/admin/slow", "Some(90) Some(2) of [(1, 2), (2, 3), (3, 1)]"),
        ("/admin/blog", "Some(60) Some(2) of [(2, 3)]"),
        ("/", "None None of [(1, 2), (2, 3), (3, 1)]"),
    ] {
        assert_eq!(site.get(target).await, answer, "{target}");
    }
}

#[tokio::test]
async fn an_app_keeps_nothing_for_requests_that_cannot_be_of_the_class() {
    let text = r#"{ "app": { "routes": [
        { "match": { "host": "a" }, "reserve": 5, "app": { "routes": [
            { "match": { "path": "/x" }, "reserve": 1, "app": "x" },
            { "app": { "wsgi": {} } }
        ] } },
        { "app": "x" }
    ] }, "apps": { "x": { "wsgi": {} } } }"#;
    let registry = ziggurat::builtin().app::<Wsgi>();
    let pipeline = Pipeline::from_text("pipeline.json", text, Path::new(""), &registry, &|_| None).unwrap();
    let site = Site(pipeline.build(&Lifecycle::default()).unwrap());
    assert_eq!(site.get("/").await, "None None of [(2, 1)]");
}

#[tokio::test]
async fn a_named_app_is_built_once_and_shared() {
    #[derive(Deserialize, JsonSchema)]
    struct Counter {}
    impl App for Counter {
        const NAME: &'static str = "counter";
        fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
            context.on_shutdown(|| panic!("built"));
            Ok(service_fn(async |_: Request| Ok::<_, Infallible>(Response::default())))
        }
    }
    let text = r#"{ "apps": { "one": { "counter": {} } }, "app": { "routes": [
        { "match": { "path": "/a" }, "app": "one" }, { "match": { "path": "/b" }, "app": "one" }, { "app": "one" }
    ] } }"#;
    let registry = ziggurat::builtin().app::<Counter>();
    let pipeline = Pipeline::from_text("pipeline.json", text, Path::new(""), &registry, &|_| None).unwrap();
    let lifecycle = Lifecycle::default();
    pipeline.build(&lifecycle).unwrap();
    // The first hook panics; a second one would still be there.
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lifecycle.shutdown())).is_err());
    lifecycle.shutdown();
}

#[test]
fn what_was_started_is_ended_when_the_build_fails() {
    static ENDED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    #[derive(Deserialize, JsonSchema)]
    struct Started {}
    impl App for Started {
        const NAME: &'static str = "started";
        fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
            context.on_shutdown(|| {
                ENDED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
            Ok(service_fn(async |_: Request| Ok::<_, Infallible>(Response::default())))
        }
    }
    let text = r#"{ "layers": [{ "static": "no-such-folder" }], "app": { "started": {} } }"#;
    let registry = ziggurat::builtin().app::<Started>();
    let pipeline = Pipeline::from_text("pipeline.json", text, Path::new(""), &registry, &|_| None).unwrap();
    assert!(pipeline.build(&Lifecycle::default()).is_err());
    assert_eq!(ENDED.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn respond_answers_what_the_file_says() {
    let site = Site::of(r#"{ "respond": { "status": 503, "body": "later\n", "headers": { "retry-after": "60" } } }"#);
    let (status, headers, body) = site.ask(request(Method::GET, "/", Body::empty())).await;
    assert_eq!((status.as_u16(), body.as_str()), (503, "later\n"));
    assert_eq!(headers["retry-after"], "60");
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    let (status, headers, _) = Site::of(r#"{ "respond": 204 }"#).ask(request(Method::GET, "/", Body::empty())).await;
    assert!(status == 204 && headers.is_empty());
    let own = Site::of(r#"{ "respond": { "body": "{}", "headers": { "Content-Type": "application/json" } } }"#);
    assert_eq!(own.ask(request(Method::GET, "/", Body::empty())).await.1["content-type"], "application/json");
}

#[tokio::test]
async fn a_rewritten_path_is_mounted_and_matched_as_if_it_had_been_sent() {
    let above = Site::of(
        r#"{ "routes": [{ "layers": [{ "rewrite": [{ "from": "/old", "to": "/blog/" }, { "from": "/old/*", "to": "/blog/*" }] }], "app": { "routes": [
            { "mount": "/blog", "app": { "echo": "blog" } },
            { "match": { "path": "/old/*" }, "app": { "echo": "old" } },
            { "app": { "respond": 403 } }
        ] } }] }"#,
    );
    for (target, seen) in [
        ("/old", "blog / in /blog of /blog/"),
        ("/old/x?y", "blog /x?y in /blog of /blog/x?y"),
        ("/%6fld/a%2Fb", "blog /a%2Fb in /blog of /blog/a%2Fb"),
        ("/older", "403"),
        ("/old/%2e%2e/admin", "400"),
    ] {
        assert_eq!(above.get(target).await, seen, "{target}");
    }
    let between = Site::of(
        r#"{ "routes": [{ "mount": "/a", "layers": [{ "rewrite": { "from": "/x/*", "to": "/b/*" } }], "app": { "routes": [
            { "mount": "/b", "app": { "echo": "inner" } }, { "app": { "echo": "outer" } }
        ] } }] }"#,
    );
    assert_eq!(between.get("/a/x/y").await, "inner /y in /a/b of /a/b/y");
    assert_eq!(between.get("/a/y").await, "outer /y in /a of /a/y");
}

#[tokio::test]
async fn redirect_fills_its_gaps() {
    for (to, target, host, location) in [
        ("https://{host}{path}{query}", "/a%20b?c=%0d", "example.com:8000", "https://example.com/a%20b?c=%0d"),
        ("https://{host}{path}{query}", "/", "[::1]:80", "https://[::1]/"),
        ("https://{host}{path}", "//evil.example/", "test", "https://test/evil.example/"),
        ("{path}", "//evil.example/%2f..", "test", "/evil.example/%2f.."),
        ("{path}", "/*//evil.example", "test", "/evil.example"),
        ("{path}", "/*/\\evil.example", "test", "/evil.example"),
        ("/new{path}", "//x", "test", "/new/x"),
        ("https://other.example{path}", "/x", "test", "https://other.example/x"),
        ("https://{host}/", "/x", "te st", "400"),
        ("https://{host}/", "/x", "a@evil.example", "400"),
    ] {
        assert_eq!(Site::of(&format!(r#"{{ "redirect": "{to}" }}"#)).location(target, host).await, location, "{to} {target} {host}");
    }
    let (status, ..) = Site::of(r#"{ "redirect": "/x" }"#).ask(request(Method::POST, "/", Body::empty())).await;
    assert_eq!(status, 308);
    let (status, ..) = Site::of(r#"{ "redirect": { "to": "/x", "status": 303 } }"#).ask(request(Method::POST, "/", Body::empty())).await;
    assert_eq!(status, 303);
    let below = Site::of(r#"{ "routes": [{ "mount": "/old", "app": { "redirect": "/new{path}{query}" } }] }"#);
    assert_eq!(below.location("/old/x?y", "test").await, "/new/x?y");
}

#[tokio::test]
async fn names_of_a_path_are_filled_in_below_the_route() {
    let site = Site::of(
        r#"{ "routes": [
            { "match": { "path": "/u/{id}" }, "app": { "redirect": "/users/{id}?from={id}" } },
            { "match": { "path": "/old/{rest*}" }, "app": { "redirect": "/{rest}" } },
            { "match": { "path": { "regex": "/v(?<version>[0-9]+)/(?<tail>.*)" } }, "app": { "redirect": "https://v{host}/{tail}/{version}" } },
            { "match": { "path": "/{shop}/*" }, "app": { "routes": [
                { "match": { "path": "/{shop}/{item}" }, "layers": [
                    { "headers": { "response": { "set": { "x-item": "{item} of {shop}" } } } },
                    { "rewrite": { "from": "/*", "to": "/items/{item}" } }
                ], "app": { "echo": "item" } },
                { "layers": [{ "headers": { "response": { "set": { "x-item": "none of {shop}" } } } }], "app": { "echo": "shop" } }
            ] } }
        ] }"#,
    );
    let location = async |target: &str| {
        let (_, headers, _) = site.ask(request(Method::GET, target, Body::empty())).await;
        headers["location"].to_str().unwrap().to_owned()
    };
    assert_eq!(location("/u/%C3%A9&1").await, "/users/%C3%A9&1?from=%C3%A9%261");
    assert_eq!(location("/u/a%0d%0ab").await, "/users/a%0d%0ab?from=a%0D%0Ab");
    for (target, safe) in
        [("/old//evil.example", "/evil.example"), ("/old/\\evil.example", "/%5Cevil.example"), ("/old", "/"), ("/old/a/b", "/a/b")]
    {
        assert_eq!(location(target).await, safe, "{target}");
    }
    assert_eq!(location("/v12/a/b%20c").await, "https://vtest/a/b%20c/12");
    let (_, headers, body) = site.ask(request(Method::GET, "/tea/g%0areen", Body::empty())).await;
    assert_eq!((headers["x-item"].to_str().unwrap(), body.as_str()), ("g%0areen of tea", "item /items/g%0areen"));
    let (_, headers, _) = site.ask(request(Method::GET, "/tea", Body::empty())).await;
    assert_eq!(headers["x-item"], "none of tea");
}

#[tokio::test]
async fn schemes_clients_cookies_and_their_contrary_choose() {
    let site = Site::of(
        r#"{ "routes": [
            { "match": { "scheme": "https" }, "app": { "echo": "tls" } },
            { "match": { "client": ["10.0.0.0/8"], "path": "/admin/*" }, "app": { "echo": "admin" } },
            { "match": { "cookie": { "beta": ["1", "2"] } }, "app": { "echo": "beta" } },
            { "match": { "not": { "path": ["/api/*", "/admin/*"] } }, "app": { "echo": "site" } },
            { "app": { "respond": 404 } }
        ] }"#,
    );
    let ask = async |target: &str, client: &str, scheme: Scheme, cookie: &str| {
        let mut request = request(Method::GET, target, Body::empty());
        let client = Some(client.parse().unwrap());
        let info = ConnectionInfo { client, client_port: None, scheme, server_port: None, local: None, is_vetted: false };
        request.extensions_mut().insert(info);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        let (status, _, body) = site.ask(request).await;
        if status == StatusCode::OK { body } else { status.as_str().to_owned() }
    };
    assert_eq!(ask("/", "10.0.0.1", Scheme::Https, "").await, "tls /");
    assert_eq!(ask("/admin", "::ffff:10.0.0.1", Scheme::Http, "").await, "admin /admin");
    assert_eq!(ask("/admin", "11.0.0.1", Scheme::Http, "beta=3").await, "404");
    assert_eq!(ask("/admin", "11.0.0.1", Scheme::Http, "a=b; beta=2").await, "beta /admin");
    assert_eq!(ask("/x", "11.0.0.1", Scheme::Http, "").await, "site /x");
}

#[tokio::test]
async fn a_route_that_is_off_takes_no_request() {
    for (switch, answer) in [("false", "site /a"), ("true", "503")] {
        let maintenance = format!(r#"{{ "enabled": {switch}, "app": {{ "respond": 503 }} }}"#);
        assert_eq!(Site::of(&format!(r#"{{ "routes": [{maintenance}, {{ "app": {{ "echo": "site" }} }}] }}"#)).get("/a").await, answer);
    }
}
