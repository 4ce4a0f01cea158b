//! Small files are served from memory as long as they have not changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use http::Method;
use ziggurat_middleware::TestStack;

use crate::site::{Site, get, stack, with};

async fn text(stack: &TestStack, path: &str) -> String {
    stack.send(get(path, &[])).await.text()
}

/// Waits until a change of a file that is there now gets another time: before that, none goes into memory.
fn wait_for_the_clock_of_files(site: &Site) {
    let probe = site.path("../probe");
    let now = || {
        fs::write(&probe, "").unwrap();
        let changed = fs::metadata(&probe).unwrap();
        i128::from(changed.ctime()) * 1_000_000_000 + i128::from(changed.ctime_nsec())
    };
    let begin = now();
    while now() - begin < 60_000_000 {
        std::thread::yield_now();
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_file_in_memory_is_seen_at_once() {
    type Change = fn(&Site);
    let changes: [(&str, Change, &str); 9] = [
        ("rewritten", |site| fs::write(site.path("a.css"), "new").unwrap(), "new"),
        (
            "rewritten with its old time",
            |site| {
                let time = fs::metadata(site.path("a.css")).unwrap().modified().unwrap();
                fs::write(site.path("a.css"), "new").unwrap();
                fs::File::options().write(true).open(site.path("a.css")).unwrap().set_modified(time).unwrap();
            },
            "new",
        ),
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
            "its folder switched",
            |site| {
                symlink("v2", site.path("next")).unwrap();
                fs::rename(site.path("next"), site.path("current")).unwrap();
            },
            "old",
        ),
    ];
    for (what, change, after) in changes {
        let site = Site::new();
        for (name, content) in [("a.css", "old"), ("b.css", "other"), ("../secret", "SECRET")] {
            fs::write(site.path(name), content).unwrap();
        }
        for folder in ["v1", "v2"] {
            fs::create_dir(site.path(folder)).unwrap();
            fs::write(site.path(format!("{folder}/page.css")), folder).unwrap();
        }
        symlink("v1", site.path("current")).unwrap();
        wait_for_the_clock_of_files(&site);
        let stack = site.layer("{}");
        for _ in 0..2 {
            assert_eq!(text(&stack, "/static/a.css").await, "old", "{what}");
            assert_eq!(text(&stack, "/static/current/page.css").await, "v1", "{what}");
        }
        change(&site);
        for _ in 0..2 {
            assert_eq!(text(&stack, "/static/a.css").await, after, "{what}");
        }
        let page = if what == "its folder switched" { "v2" } else { "v1" };
        assert_eq!(text(&stack, "/static/current/page.css").await, page, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_right_after_a_request_is_seen_though_the_clock_of_files_is_coarse() {
    let site = Site::new();
    let stack = site.layer("{}");
    for round in 0..500 {
        let content = format!("{round:03}");
        fs::write(site.path("a.css"), &content).unwrap();
        assert_eq!(text(&stack, "/static/a.css").await, content);
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_file_in_memory_gives_way_to_a_change_of_either_file() {
    let gzip = |stack: TestStack| async move { stack.send(get("/static/a.css", &[("accept-encoding", "gzip")])).await.text() };
    for name in ["a.css", "a.css.gz"] {
        let site = Site::new();
        fs::write(site.path("a.css"), "plain").unwrap();
        fs::write(site.path("a.css.gz"), "packed").unwrap();
        wait_for_the_clock_of_files(&site);
        let stack = site.layer(r#"{ "precompressed": true }"#);
        for _ in 0..2 {
            assert_eq!(gzip(stack.clone()).await, "packed");
        }
        fs::write(site.path(name), "changed").unwrap();
        let expected = if name == "a.css" { "packed" } else { "changed" };
        assert_eq!(gzip(stack.clone()).await, expected);
        fs::remove_file(site.path("a.css.gz")).unwrap();
        assert_eq!(gzip(stack).await, if name == "a.css" { "changed" } else { "plain" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_file_is_seen_at_once() {
    let site = Site::new();
    let stack = site.layer("{}");
    assert_eq!(text(&stack, "/static/new.css").await, "below");
    fs::write(site.path("new.css"), "new").unwrap();
    assert_eq!(text(&stack, "/static/new.css").await, "new");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_answers_as_the_file_does() {
    let site = Site::new().file("dated.css", "body { color: red }").file("styles/index.html", "<p>");
    for (name, content) in [("a.css", "body { color: blue }"), ("a.css.br", "brotli"), ("a.css.gz", "gzip"), ("empty.css", "")] {
        fs::write(site.path(name), content).unwrap();
    }
    wait_for_the_clock_of_files(&site);
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
    wait_for_the_clock_of_files(&site);
    let stack = site.layer("{}");
    for _ in 0..2 {
        let response = stack.send(get("/static/a.css", &[("range", "bytes=0-1,8-9")])).await;
        assert_eq!(response.header("content-length"), response.text().len().to_string());
        assert!(response.text().contains("Content-Range: bytes 0-1/10\r\n\r\n01\r\n--"), "{}", response.text());
        assert!(response.text().contains("Content-Range: bytes 8-9/10\r\n\r\n89\r\n--"), "{}", response.text());
    }
}
