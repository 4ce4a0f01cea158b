//! Conditional requests (RFC 9110 section 13).

use http::Method;

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

#[tokio::test]
async fn a_write_within_the_same_second_gives_another_tag() {
    let site = Site::new().file("a.css", "one");
    let stack = stack(site.app("{}"));
    let tag = stack.get("/a.css").await.header("etag").to_owned();
    let file = std::fs::File::options().write(true).open(site.path("a.css")).unwrap();
    file.set_modified(crate::site::modified() + std::time::Duration::from_nanos(1)).unwrap();
    assert_ne!(stack.get("/a.css").await.header("etag"), tag);
}
