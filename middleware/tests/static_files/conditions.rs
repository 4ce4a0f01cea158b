//! Conditional requests (RFC 9110 section 13).

use http::Method;
use serde::Deserialize;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::{App, Context, IntoApp, Lifecycle, Place};

use crate::site::{AFTER, BEFORE, MODIFIED, Site, get, stack, with};

const SUNDAY: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
const ASCTIME: &str = "Sun Nov  6 08:49:37 1994";

/// Request headers, with `TAG` for the file's entity tag, and the status they give.
const CASES: &[(&[(&str, &str)], u16)] = &[
    (&[], 200),
    (&[("if-none-match", "TAG")], 304),
    (&[("if-none-match", "W/TAG")], 304),
    (&[("if-none-match", "\"x\", TAG")], 304),
    (&[("if-none-match", "\"a,b\",W/\"y\" , W/TAG, \"z\"")], 304),
    (&[("if-none-match", "\"x\""), ("if-none-match", "TAG")], 304),
    (&[("if-none-match", "*")], 304),
    (&[("if-none-match", "\"x\"")], 200),
    (&[("if-none-match", "unquoted")], 200),
    (&[("if-none-match", "")], 200),
    (&[("if-modified-since", MODIFIED)], 304),
    (&[("if-modified-since", SUNDAY)], 304),
    (&[("if-modified-since", ASCTIME)], 304),
    (&[("if-modified-since", AFTER)], 304),
    (&[("if-modified-since", BEFORE)], 200),
    (&[("if-modified-since", "yesterday")], 200),
    (&[("if-modified-since", "0")], 200),
    // If-None-Match takes the place of If-Modified-Since.
    (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], 200),
    (&[("if-none-match", "TAG"), ("if-modified-since", BEFORE)], 304),
    (&[("if-match", "TAG")], 200),
    (&[("if-match", "*")], 200),
    (&[("if-match", "\"x\", TAG")], 200),
    (&[("if-match", "\"x\"")], 412),
    (&[("if-match", "W/TAG")], 412),
    (&[("if-match", "unquoted")], 412),
    (&[("if-unmodified-since", MODIFIED)], 200),
    (&[("if-unmodified-since", AFTER)], 200),
    (&[("if-unmodified-since", BEFORE)], 412),
    (&[("if-unmodified-since", "yesterday")], 200),
    // If-Match takes the place of If-Unmodified-Since.
    (&[("if-match", "TAG"), ("if-unmodified-since", BEFORE)], 200),
    (&[("if-match", "\"x\""), ("if-unmodified-since", AFTER)], 412),
    // Both pairs.
    (&[("if-match", "TAG"), ("if-none-match", "TAG")], 304),
    (&[("if-match", "\"x\""), ("if-none-match", "TAG")], 412),
    (&[("if-unmodified-since", AFTER), ("if-modified-since", MODIFIED)], 304),
    (&[("if-unmodified-since", BEFORE), ("if-modified-since", MODIFIED)], 412),
    // Before ranges.
    (&[("if-none-match", "TAG"), ("range", "bytes=0-1")], 304),
    (&[("if-match", "\"x\""), ("range", "bytes=90-")], 412),
    (&[("if-match", "TAG"), ("range", "bytes=0-1")], 206),
];

#[tokio::test]
async fn preconditions_are_weighed_in_the_order_of_the_standard() {
    let site = Site::new().file("a.css", "0123456789");
    let stack = stack(site.app("{}"));
    let tag = stack.get("/a.css").await.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for (headers, expected) in CASES {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.replace("TAG", &tag))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = stack.send(get("/a.css", &headers)).await;
        assert_eq!(response.status().as_u16(), *expected, "{headers:?}");
        // HEAD weighs them alike, and knows no ranges.
        let head = stack.send(with(Method::HEAD, "/a.css", &headers)).await;
        assert_eq!(head.status().as_u16(), if *expected == 206 { 200 } else { *expected }, "HEAD {headers:?}");
    }
}

#[tokio::test]
async fn not_modified_repeats_what_caches_need_and_nothing_else() {
    let site = Site::new().file("a.0123456789ab.css", "0123456789");
    let stack = stack(site.app(r#"{"immutable": true}"#));
    let whole = stack.get("/a.0123456789ab.css").await;
    let response = stack.send(get("/a.0123456789ab.css", &[("if-none-match", whole.header("etag"))])).await;
    assert_eq!(response.status(), 304);
    assert!(response.body().is_empty());
    for name in ["etag", "last-modified", "cache-control", "vary"] {
        assert_ne!(response.header(name), "", "{name}");
        assert_eq!(response.header(name), whole.header(name), "{name}");
    }
    for name in ["content-length", "content-type", "content-encoding"] {
        assert_eq!(response.header(name), "", "{name}");
    }
    assert_eq!(whole.header("last-modified"), MODIFIED);
}

/// Writes a file at a time that a program has set.
fn write(site: &Site, name: &str, content: &str, seconds: u64) {
    std::fs::write(site.path(name), content).unwrap();
    let file = std::fs::File::options().write(true).open(site.path(name)).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
}

#[tokio::test]
async fn another_content_has_another_tag_whatever_its_time_says() {
    let site = Site::new();
    for (seconds, last_modified) in
        [(0, ""), (1, ""), (315_532_801, ""), (784_111_777, MODIFIED), (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT")]
    {
        let stack = stack(site.app("{}"));
        write(&site, "a.js", "alert('release 1')", seconds);
        let one = stack.get("/a.js").await;
        assert_eq!(one.header("last-modified"), last_modified, "{seconds}");
        let again = stack.send(get("/a.js", &[("if-none-match", one.header("etag"))])).await;
        assert_eq!((again.status().as_u16(), again.header("etag")), (304, one.header("etag")), "{seconds}");
        std::fs::remove_file(site.path("a.js")).unwrap();
        write(&site, "a.js", "alert('release 2')", seconds);
        let two = stack.send(get("/a.js", &[("if-none-match", one.header("etag"))])).await;
        assert_eq!((two.status().as_u16(), two.text().as_str()), (200, "alert('release 2')"), "{seconds}");
        let resumed = stack.send(get("/a.js", &[("if-range", one.header("etag")), ("range", "bytes=7-")])).await;
        assert_eq!((resumed.status().as_u16(), resumed.text().as_str()), (200, "alert('release 2')"), "{seconds}");
        // The same content again, in another file.
        std::fs::remove_file(site.path("a.js")).unwrap();
        write(&site, "a.js", "alert('release 1')", seconds + 1);
        assert_eq!(stack.get("/a.js").await.header("etag"), one.header("etag"), "{seconds}");
    }
}

#[tokio::test]
async fn a_file_that_nobody_has_dated_is_identified_by_its_time() {
    let site = Site::new();
    std::fs::write(site.path("a.css"), "one").unwrap();
    let stack = stack(site.app("{}"));
    let first = stack.get("/a.css").await;
    let (time, length) = first.header("etag").trim_matches('"').split_once('-').unwrap();
    let seconds = i64::from_str_radix(time.split('.').next().unwrap(), 16).unwrap();
    let modified =
        std::fs::metadata(site.path("a.css")).unwrap().modified().unwrap().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!((seconds.unsigned_abs(), length), (modified.as_secs(), "3"));
}

#[tokio::test]
async fn an_empty_file_is_empty_and_has_a_tag() {
    let site = Site::new();
    std::fs::write(site.path("empty.css"), "").unwrap();
    let stack = stack(site.app("{}"));
    let empty = stack.get("/empty.css").await;
    assert_eq!((empty.status().as_u16(), empty.header("content-length"), empty.text().as_str()), (200, "0", ""));
    assert_eq!(stack.send(get("/empty.css", &[("if-none-match", empty.header("etag"))])).await.status(), 304);
}

#[tokio::test]
async fn a_file_that_says_it_is_empty_and_holds_something_is_served_whole() {
    let options = Static::deserialize(&mut serde_json::Deserializer::from_str(r#"{"root": "/proc/sys/kernel"}"#)).unwrap();
    let context = Context::new("static", std::path::PathBuf::from("/"), Lifecycle::default());
    let app = App::app(options, &context).unwrap_or_else(|finding| panic!("{finding}")).into_next(&Place::new("static"));
    let stack = stack(app);
    let whole = stack.get("/ostype").await;
    assert_eq!((whole.text().as_str(), whole.header("content-length"), whole.header("last-modified")), ("Linux\n", "6", ""));
    assert_eq!(stack.send(get("/ostype", &[("range", "bytes=1-2")])).await.text(), "in");
    let parts = stack.send(get("/ostype", &[("range", "bytes=0-0,2-3")])).await;
    assert!(parts.status() == 206 && parts.text().contains("\r\n\r\nnu\r\n"), "{}", parts.text());
}
