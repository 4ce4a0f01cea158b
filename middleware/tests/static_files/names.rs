//! Which paths have a file, and which never do.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::SystemTime;

use http::Method;
use proptest::prelude::*;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::{Body, Mount, TestStack, request};

use crate::site::{Site, get, stack, summary, with};

fn site() -> Site {
    let site = Site::new()
        .file("a.css", "css")
        .file("with space.txt", "space")
        .file("p%20q", "percent")
        .file("caf\u{e9}.txt", "utf8")
        .file(b"latin\xe9", "latin")
        .file("back\\slash", "never")
        .file("deep/er/b.js", "js")
        .file("deep/index.html", "index of deep")
        .file("index.html", "index")
        .file("bare/only.txt", "only")
        .file(".env", "hidden")
        .file(".git/config", "hidden")
        .file("deep/.hidden", "hidden")
        .file("empty", "");
    std::fs::write(site.path("../secret"), "SECRET").unwrap();
    std::fs::create_dir_all(site.path("../root-twin")).unwrap();
    std::fs::write(site.path("../root-twin/secret"), "SECRET").unwrap();
    symlink("a.css", site.path("link_in")).unwrap();
    symlink(site.path("a.css"), site.path("link_in_absolute")).unwrap();
    symlink("deep", site.path("link_folder")).unwrap();
    symlink("../secret", site.path("link_out")).unwrap();
    symlink(site.path("../secret"), site.path("link_out_absolute")).unwrap();
    symlink(site.path("../root-twin"), site.path("link_twin")).unwrap();
    symlink("..", site.path("deep/up")).unwrap();
    symlink("loop_b", site.path("loop_a")).unwrap();
    symlink("loop_a", site.path("loop_b")).unwrap();
    symlink("nowhere", site.path("dangling")).unwrap();
    symlink("/dev/zero", site.path("zero")).unwrap();
    symlink("/proc/self/environ", site.path("environ")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(site.path("fifo")).status().unwrap();
    assert!(fifo.success());
    drop(UnixListener::bind(site.path("socket")).unwrap());
    site
}

/// Path below the prefix, and what an app answers; where that is 404 the layer passes on.
const CASES: &[(&str, &str)] = &[
    // What is there.
    ("/a.css", "200 css"),
    ("/%61%2Ecss", "200 css"),
    ("/with%20space.txt", "200 space"),
    ("/p%2520q", "200 percent"),
    ("/caf%C3%A9.txt", "200 utf8"),
    ("/latin%E9", "200 latin"),
    ("/deep/er/b.js", "200 js"),
    ("/empty", "200 "),
    ("/a.css?v=1", "200 css"),
    ("/a.css?../../secret", "200 css"),
    // Folders.
    ("/", "200 index"),
    ("/deep/", "200 index of deep"),
    ("/deep", "301 "),
    ("/bare", "404"),
    ("/bare/", "404"),
    ("/a.css/", "404"),
    ("/a.css/x", "404"),
    ("/none", "404"),
    ("/none/", "404"),
    // Climbing.
    ("/../secret", "404"),
    ("/deep/../../secret", "404"),
    ("/deep/../a.css", "404"),
    ("/./a.css", "404"),
    ("/deep/./er/b.js", "404"),
    ("/..", "404"),
    ("/deep/..", "404"),
    ("/.", "404"),
    ("/%2e%2e/secret", "404"),
    ("/%2e%2e%2fsecret", "404"),
    ("/..%2fsecret", "404"),
    ("/.%2e/secret", "404"),
    ("/%2e/a.css", "404"),
    ("/..%5csecret", "404"),
    ("/..%5Csecret", "404"),
    ("/..\\secret", "404"),
    ("/deep%2Fer%2Fb.js", "404"),
    ("/deep%2fer/b.js", "404"),
    ("/%252e%252e/secret", "404"),
    ("/..%252fsecret", "404"),
    ("/%c0%ae%c0%ae/secret", "404"),
    ("/%c0%af../secret", "404"),
    ("/%e0%80%ae%e0%80%ae/secret", "404"),
    ("/%uff0e%uff0e/secret", "404"),
    ("/../root-twin/secret", "404"),
    ("/../root/a.css", "404"),
    ("//secret", "404"),
    ("//a.css", "404"),
    ("/deep//er/b.js", "404"),
    ("/deep//", "404"),
    ("//", "404"),
    ("//etc/passwd", "404"),
    ("/%2fetc/passwd", "404"),
    ("/%2Fetc%2Fpasswd", "404"),
    ("/...", "404"),
    ("/a.css;x", "404"),
    // Octets that are no part of any name.
    ("/a.css%00", "404"),
    ("/a.css%00.png", "404"),
    ("/%00", "404"),
    ("/back%5Cslash", "404"),
    ("/a.css%", "404"),
    ("/a.css%2", "404"),
    ("/%zz", "404"),
    ("/%+1", "404"),
    ("/a.css%0a", "404"),
    ("/a.css%20", "404"),
    // Names with a dot in front.
    ("/.env", "404"),
    ("/%2eenv", "404"),
    ("/.git/config", "404"),
    ("/deep/.hidden", "404"),
    // Links.
    ("/link_in", "200 css"),
    ("/link_in_absolute", "200 css"),
    ("/link_folder/er/b.js", "200 js"),
    ("/deep/up/a.css", "200 css"),
    ("/deep/up/deep/up/a.css", "200 css"),
    ("/deep/up/../secret", "404"),
    ("/link_out", "404"),
    ("/link_out_absolute", "404"),
    ("/link_twin/secret", "404"),
    ("/loop_a", "404"),
    ("/loop_a/x", "404"),
    ("/dangling", "404"),
    // What is no regular file.
    ("/fifo", "404"),
    ("/socket", "404"),
    ("/zero", "404"),
    ("/environ", "404"),
];

#[tokio::test]
async fn every_path_gets_its_file_or_none_from_the_app() {
    let site = site();
    let stack = stack(site.app("{}"));
    for (path, expected) in CASES {
        let got = summary(&stack.get(path).await);
        assert!(if *expected == "404" { got == "404 404 Not Found\n" } else { got == *expected }, "{path}: {got}");
    }
}

#[tokio::test]
async fn every_path_gets_its_file_or_passes_on_from_the_layer() {
    let site = site();
    let stack = site.layer("{}");
    for (path, expected) in CASES {
        let got = summary(&stack.get(&format!("/static{path}")).await);
        assert_eq!(got, if *expected == "404" { "200 below" } else { expected }, "{path}");
    }
    for path in ["/", "/a.css", "/staticx/a.css", "/static%2fa.css", "/Static/a.css", "/x/static/a.css"] {
        assert_eq!(stack.get(path).await.text(), "below", "{path}");
    }
    assert_eq!(stack.get("/static").await.header("location"), "/static/");
}

#[tokio::test]
async fn a_name_longer_than_any_file_has_is_not_found() {
    let site = site();
    let stack = stack(site.app("{}"));
    for path in [format!("/{}", "a".repeat(300)), "/a".repeat(5000)] {
        assert_eq!(stack.get(&path).await.status(), 404);
    }
}

#[tokio::test]
async fn only_get_and_head_are_served() {
    let site = site();
    let (layer, app) = (site.layer("{}"), stack(site.app("{}")));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        assert_eq!(layer.send(with(method.clone(), "/static/a.css", &[])).await.text(), "below", "{method}");
        let refusal = app.send(with(method.clone(), "/a.css", &[])).await;
        assert_eq!((refusal.status().as_u16(), refusal.header("allow")), (405, "GET, HEAD"), "{method}");
    }
    let head = layer.send(with(Method::HEAD, "/static/a.css", &[])).await;
    assert_eq!(
        (summary(&head), head.header("content-length"), head.header("content-type")),
        ("200 ".to_owned(), "3", "text/css; charset=utf-8")
    );
}

#[tokio::test]
async fn a_folder_is_redirected_below_its_mount_and_with_its_query() {
    let site = site();
    let stack = stack(site.app("{}"));
    assert_eq!(stack.get("/deep?a=1&b=//evil").await.header("location"), "/deep/?a=1&b=//evil");
    let mut mounted = request(Method::GET, "/deep", Body::empty());
    mounted.extensions_mut().insert(Mount { prefix: "/blog".into(), target: "/blog/deep".parse().unwrap() });
    assert_eq!(stack.send(mounted).await.header("location"), "/blog/deep/");
    let rewritten = |rules: &str| TestStack::of::<Rewrite>(rules).over_next(site.app("{}"));
    let moved = rewritten(r#"{ "from": "/docs/*", "to": "/*" }"#);
    assert_eq!(moved.get("/docs/deep?a=1").await.header("location"), "/docs/deep/?a=1");
    assert_eq!(moved.get("/docs/deep/").await.status(), 200);
    let mut mounted = request(Method::GET, "/docs/deep", Body::empty());
    mounted.extensions_mut().insert(Mount { prefix: "/blog".into(), target: "/blog/docs/deep".parse().unwrap() });
    assert_eq!(moved.send(mounted).await.header("location"), "/blog/docs/deep/");
    // The path of the client has the slash already, and no redirect would give it another one.
    let cut = rewritten(r#"{ "regex": ".*", "to": "/deep" }"#);
    assert_eq!((cut.get("/any/").await.status().as_u16(), cut.get("/any").await.header("location")), (200, "/any/"));
    assert_eq!(cut.get("//evil.example/x").await.header("location"), "/evil.example/x/");
    for path in
        ["//evil.example/deep", "///evil.example", "/\\evil.example/deep", "//deep", "/%2fevil.example/..", "//evil.example/%2e%2e/deep"]
    {
        assert_eq!(stack.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn dotfiles_appear_where_they_are_asked_for_but_never_dots_alone() {
    let site = site();
    let stack = stack(site.app(r#"{"dotfiles": true}"#));
    assert_eq!(stack.get("/.env").await.text(), "hidden");
    assert_eq!(stack.get("/.git/config").await.text(), "hidden");
    for path in ["/../secret", "/deep/../a.css", "/./a.css", "/%2e%2e/secret"] {
        assert_eq!(stack.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn links_are_followed_as_far_as_the_option_says() {
    let site = site();
    for (policy, inside, outside) in [("never", 404, 404), ("within", 200, 404), ("anywhere", 200, 200)] {
        let stack = stack(site.app(&format!(r#"{{"symlinks": "{policy}"}}"#)));
        assert_eq!(stack.get("/link_in").await.status().as_u16(), inside, "{policy}");
        assert_eq!(stack.get("/link_folder/er/b.js").await.status().as_u16(), inside, "{policy}");
        assert_eq!(stack.get("/link_out").await.status().as_u16(), outside, "{policy}");
        assert_eq!(stack.get("/zero").await.status(), 404, "{policy}");
    }
}

#[tokio::test]
async fn an_index_has_the_name_it_is_given_or_there_is_none() {
    let site = site();
    let named = stack(site.app(r#"{"index": "only.txt"}"#));
    assert_eq!(named.get("/bare/").await.text(), "only");
    assert_eq!(named.get("/deep/").await.status(), 404);
    let none = stack(site.app(r#"{"index": false}"#));
    assert_eq!(none.get("/deep/").await.status(), 404);
    assert_eq!(none.get("/deep").await.status(), 404);
    assert_eq!(none.get("/").await.status(), 404);
}

#[tokio::test]
async fn a_fallback_answers_for_what_is_missing_but_not_for_what_is_refused() {
    let site = site();
    let layer = site.layer(r#"{"at": "/", "fallback": "deep/index.html"}"#);
    for path in ["/some/route", "/none.js", "/bare/", "/link_out"] {
        let response = layer.get(path).await;
        assert_eq!(summary(&response), "200 index of deep", "{path}");
        assert_eq!(response.header("content-type"), "text/html; charset=utf-8", "{path}");
    }
    assert_eq!(layer.get("/a.css").await.text(), "css");
    for path in ["/.env", "/%2e%2e/secret", "//x"] {
        assert_eq!(layer.get(path).await.text(), "below", "{path}");
    }
}

#[tokio::test]
async fn hashed_names_never_expire_and_others_as_the_option_says() {
    let site = site().file("css/base.0123456789ab.css", "x");
    let stack = stack(site.app(r#"{"immutable": true, "max_age": "1h"}"#));
    assert_eq!(stack.get("/css/base.0123456789ab.css").await.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(stack.get("/a.css").await.header("cache-control"), "max-age=3600");
    assert_eq!(site.layer("{}").get("/static/css/base.0123456789ab.css").await.header("cache-control"), "no-cache");
    assert_eq!(site.layer("{}").get("/static/a.css").await.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn where_there_is_a_manifest_its_names_never_expire_and_no_others() {
    let manifest =
        r#"{"version": "1.1", "paths": {"base.css": "base.0123456789ab.css", "odd.css": "odd.v1.css", "plain.css": "plain.css"}}"#;
    let site = site().file("staticfiles.json", manifest);
    let names = ["base.0123456789ab.css", "odd.v1.css", "other.0123456789ab.css", "base.css", "plain.css"];
    let site = names.into_iter().fold(site, |site, name| site.file(name, "x"));
    let stack = stack(site.app(r#"{"immutable": true}"#));
    let mut immutable = Vec::new();
    for name in names {
        immutable.push(stack.get(&format!("/{name}")).await.header("cache-control").contains("immutable"));
    }
    assert_eq!(immutable, [true, true, false, false, false]);
}

#[tokio::test]
async fn a_changed_file_is_seen_at_once() {
    let site = site();
    let stack = stack(site.app("{}"));
    let before = stack.get("/a.css").await;
    std::fs::write(site.path("a.css"), "new").unwrap();
    let after = stack.get("/a.css").await;
    assert_eq!(after.text(), "new");
    assert_ne!(before.header("etag"), after.header("etag"));
    std::fs::remove_file(site.path("a.css")).unwrap();
    assert_eq!(stack.get("/a.css").await.status(), 404);
}

#[tokio::test]
async fn a_file_from_the_future_is_modified_now() {
    let site = site();
    let file = std::fs::File::options().write(true).open(site.path("a.css")).unwrap();
    file.set_modified(SystemTime::now() + std::time::Duration::from_secs(100_000)).unwrap();
    let date = httpdate::parse_http_date(stack(site.app("{}")).get("/a.css").await.header("last-modified")).unwrap();
    assert!(date <= SystemTime::now());
}

#[test]
fn wrong_options_are_refused_with_a_hint() {
    let site = site();
    let root = site.path("");
    let root = root.to_str().unwrap();
    let missing = TestStack::refusal::<Static>(r#"{"root": "/nowhere/at/all"}"#).join("");
    assert!(missing.contains("cannot open the folder `/nowhere/at/all`") && missing.contains("collectstatic"), "{missing}");
    let file = TestStack::refusal::<Static>(&format!(r#"{{"root": "{root}a.css"}}"#)).join("");
    assert!(file.contains("not a directory"), "{file}");
    let at = TestStack::refusal::<Static>(r#"{"at": "static"}"#).join("");
    assert!(at.contains("write `\"/static\"`"), "{at}");
    let fallback = TestStack::refusal::<Static>(&format!(r#"{{"root": "{root}", "fallback": "none.html"}}"#)).join("");
    assert!(fallback.contains("there is no file `none.html`"), "{fallback}");
    for index in ["true", r#""a/b""#, r#""..""#, r#""""#, "1"] {
        let said = TestStack::refusal::<Static>(&format!(r#"{{"root": "{root}", "index": {index}}}"#)).join("");
        assert!(said.contains("file"), "{said}");
    }
}

proptest! {
    /// Built from the pieces that attacks are made of, with a prefix that decodes to anything.
    #[test]
    fn no_octet_from_outside_the_root_for_any_path(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%", "%25", "secret", "root-twin", "root", "deep", "up",
                "link_out", "link_twin", "link_folder", "loop_a", "etc", "passwd", "a.css", "%c0%ae", ";", "~", "%7e", "environ", "fifo",
            ]),
            0..12,
        ),
        dotfiles: bool,
        noise in "[!-~]{0,6}",
    ) {
        thread_local! {
            static SITE: Site = site();
        }
        let path = format!("/{}{noise}", pieces.concat());
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
        prop_assume!(uri.path().starts_with('/'));
        let stack = SITE.with(|site| stack(site.app(&format!(r#"{{"dotfiles": {dotfiles}}}"#))));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let response = runtime.block_on(stack.send(get(&uri.to_string(), &[])));
        let inside = ["css", "space", "percent", "utf8", "latin", "js", "index of deep", "index", "only", "hidden", ""];
        prop_assert!(
            matches!(response.status().as_u16(), 301 | 404) || inside.contains(&response.text().as_str()),
            "{path}: {}", response.text()
        );
    }
}
