//! Small files are served from memory for less than a second.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use http::Method;
use tokio::time::advance;
use ziggurat_middleware::TestStack;

use crate::site::{Site, get, stack, with};

const SECOND: Duration = Duration::from_secs(1);
const ALMOST: Duration = Duration::from_millis(999);

/// A site with one small file, whose time nobody has set.
fn site() -> Site {
    let site = Site::new();
    fs::write(site.path("a.css"), "old").unwrap();
    site
}

async fn text(stack: &TestStack, path: &str) -> String {
    stack.send(get(path, &[])).await.text()
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_small_file_is_seen_after_a_second() {
    type Change = fn(&Site);
    let changes: [(&str, Change, &str); 8] = [
        ("rewritten", |site| fs::write(site.path("a.css"), "new").unwrap(), "new"),
        ("cut", |site| fs::File::options().write(true).open(site.path("a.css")).unwrap().set_len(1).unwrap(), "o"),
        ("replaced", |site| fs::rename(site.path("b.css"), site.path("a.css")).unwrap(), "other"),
        ("deleted", |site| fs::remove_file(site.path("a.css")).unwrap(), "below"),
        (
            "a link inside",
            |site| {
                fs::remove_file(site.path("a.css")).unwrap();
                symlink("b.css", site.path("a.css")).unwrap();
            },
            "other",
        ),
        (
            "a link out of the root",
            |site| {
                fs::remove_file(site.path("a.css")).unwrap();
                symlink("../secret", site.path("a.css")).unwrap();
            },
            "below",
        ),
        (
            "a folder",
            |site| {
                fs::remove_file(site.path("a.css")).unwrap();
                fs::create_dir(site.path("a.css")).unwrap();
            },
            "below",
        ),
        (
            "the root replaced",
            |site| {
                fs::rename(site.path(""), site.path("../before")).unwrap();
                fs::create_dir(site.path("")).unwrap();
                fs::write(site.path("a.css"), "new").unwrap();
            },
            "new",
        ),
    ];
    for (what, change, after) in changes {
        let site = site();
        fs::write(site.path("b.css"), "other").unwrap();
        fs::write(site.path("../secret"), "SECRET").unwrap();
        let stack = site.layer("{}");
        assert_eq!(text(&stack, "/static/a.css").await, "old", "{what}");
        change(&site);
        advance(ALMOST).await;
        assert_eq!(text(&stack, "/static/a.css").await, "old", "{what}");
        advance(SECOND - ALMOST).await;
        assert_eq!(text(&stack, "/static/a.css").await, after, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_switched_to_another_folder_is_seen_after_a_second() {
    let site = site();
    for (folder, content) in [("v1", "one"), ("v2", "two")] {
        fs::create_dir(site.path(folder)).unwrap();
        fs::write(site.path(format!("{folder}/page.css")), content).unwrap();
    }
    symlink("v1", site.path("current")).unwrap();
    let stack = site.layer("{}");
    assert_eq!(text(&stack, "/static/current/page.css").await, "one");
    symlink("v2", site.path("next")).unwrap();
    fs::rename(site.path("next"), site.path("current")).unwrap();
    assert_eq!(text(&stack, "/static/current/page.css").await, "one");
    advance(SECOND).await;
    assert_eq!(text(&stack, "/static/current/page.css").await, "two");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_root_is_seen_within_a_second_of_its_last_check() {
    let site = site();
    let stack = site.layer("{}");
    advance(ALMOST).await;
    assert_eq!(text(&stack, "/static/a.css").await, "old");
    fs::rename(site.path(""), site.path("../before")).unwrap();
    fs::create_dir(site.path("")).unwrap();
    fs::write(site.path("a.css"), "new").unwrap();
    advance(SECOND - ALMOST).await;
    assert_eq!(text(&stack, "/static/a.css").await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_new_file_is_seen_at_once() {
    let site = site();
    let stack = site.layer("{}");
    assert_eq!(text(&stack, "/static/new.css").await, "below");
    fs::write(site.path("new.css"), "new").unwrap();
    assert_eq!(text(&stack, "/static/new.css").await, "new");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_seen_at_once_if_it_is_large_or_nothing_is_in_memory() {
    let large = "x".repeat((64 << 10) + 1);
    for (options, old) in [("{}", large.as_str()), (r#"{ "memory": "0B" }"#, "old")] {
        let site = Site::new();
        fs::write(site.path("a.css"), old).unwrap();
        let stack = site.layer(options);
        assert_eq!(text(&stack, "/static/a.css").await, old);
        fs::write(site.path("a.css"), "new").unwrap();
        assert_eq!(text(&stack, "/static/a.css").await, "new");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_in_memory_than_the_option_allows() {
    let site = Site::new();
    let stack = site.layer(r#"{ "memory": "16KiB" }"#);
    let names: Vec<_> = (0..64).map(|number| format!("{number}.css")).collect();
    for name in &names {
        fs::write(site.path(name), "x".repeat(1 << 10)).unwrap();
        text(&stack, &format!("/static/{name}")).await;
    }
    let mut kept = 0;
    for name in &names {
        fs::write(site.path(name), "new").unwrap();
        kept += usize::from(text(&stack, &format!("/static/{name}")).await != "new");
    }
    assert!((1..=8).contains(&kept), "{kept}");
    // After a second there is room again.
    advance(SECOND).await;
    assert_eq!(text(&stack, "/static/63.css").await, "new");
    fs::write(site.path("63.css"), "newer").unwrap();
    assert_eq!(text(&stack, "/static/63.css").await, "new");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_answers_as_the_file_does() {
    let site = Site::new().file("dated.css", "body { color: red }").file("styles/index.html", "<p>");
    for (name, content) in [("a.css", "body { color: blue }"), ("a.css.br", "brotli"), ("a.css.gz", "gzip"), ("empty.css", "")] {
        fs::write(site.path(name), content).unwrap();
    }
    let direct = site.app(r#"{ "memory": "0B", "immutable": true }"#);
    let direct = stack(direct);
    let kept = stack(site.app(r#"{ "immutable": true }"#));
    let tag = direct.send(get("/a.css", &[])).await.header("etag").to_owned();
    let date = direct.send(get("/a.css", &[])).await.header("last-modified").to_owned();
    let headers: [&[(&'static str, &str)]; 12] = [
        &[],
        &[("if-none-match", &tag)],
        &[("if-none-match", "\"other\"")],
        &[("if-match", "\"other\"")],
        &[("if-modified-since", &date)],
        &[("range", "bytes=2-4")],
        &[("range", "bytes=-1")],
        &[("range", "bytes=99-")],
        &[("range", "bytes=2-4"), ("if-range", &tag)],
        &[("range", "bytes=2-4"), ("if-range", "\"other\"")],
        &[("accept-encoding", "gzip")],
        &[("accept-encoding", "br, gzip")],
    ];
    // What comes from the file comes from memory the next time.
    for _ in 0..2 {
        for path in ["/a.css", "/a.css.br", "/dated.css", "/empty.css", "/styles/", "/styles", "/none"] {
            for headers in headers {
                for method in [Method::GET, Method::HEAD] {
                    let expected = direct.send(with(method.clone(), path, headers)).await;
                    let found = kept.send(with(method.clone(), path, headers)).await;
                    let what = format!("{method} {path} {headers:?}");
                    assert_eq!(found.status(), expected.status(), "{what}");
                    assert_eq!(found.headers(), expected.headers(), "{what}");
                    assert_eq!(found.text(), expected.text(), "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_ranges_come_from_memory_too() {
    let site = Site::new();
    fs::write(site.path("a.css"), "0123456789").unwrap();
    let stack = site.layer("{}");
    let ranges = get("/static/a.css", &[("range", "bytes=0-1,8-9")]);
    text(&stack, "/static/a.css").await;
    fs::remove_file(site.path("a.css")).unwrap();
    let response = stack.send(ranges).await;
    assert_eq!(response.header("content-length"), response.text().len().to_string());
    assert!(response.text().contains("Content-Range: bytes 0-1/10\r\n\r\n01\r\n--"), "{}", response.text());
    assert!(response.text().contains("Content-Range: bytes 8-9/10\r\n\r\n89\r\n--"), "{}", response.text());
}
