//! Siblings with the same content compressed.

use std::fs::File;
use std::time::Duration;

use crate::site::{Site, get, modified, stack};

fn site() -> Site {
    Site::new()
        .file("a.css", "plain a.css")
        .file("a.css.zst", "zstd")
        .file("a.css.br", "brotli")
        .file("a.css.gz", "gzip")
        .file("b.js", "plain b.js")
        .file("b.js.gz", "gzip")
        .file("index.html", "plain index")
        .file("index.html.br", "brotli index")
        .file("lonely.css.gz", "gzip")
}

#[tokio::test]
async fn the_sibling_is_chosen_by_weight_and_then_by_size() {
    let site = site();
    let stack = stack(site.app("{}"));
    for (path, accept, encoding, body) in [
        ("/a.css", "gzip, deflate, br, zstd", "zstd", "zstd"),
        ("/a.css", "gzip, deflate, br", "br", "brotli"),
        ("/a.css", "gzip", "gzip", "gzip"),
        ("/a.css", "gzip;q=1, br;q=0.5, zstd;q=0.2", "gzip", "gzip"),
        ("/a.css", "zstd;q=0, *", "br", "brotli"),
        ("/a.css", "*", "zstd", "zstd"),
        ("/a.css", "deflate", "", "plain a.css"),
        ("/a.css", "identity", "", "plain a.css"),
        ("/a.css", "identity, gzip;q=0.5", "", "plain a.css"),
        ("/a.css", "*;q=0", "", "plain a.css"),
        ("/a.css", "", "", "plain a.css"),
        ("/b.js", "br, zstd, gzip;q=0.1", "gzip", "gzip"),
        ("/b.js", "br, zstd", "", "plain b.js"),
        ("/b.js", "identity;q=0, br", "", "plain b.js"),
        ("/", "br", "br", "brotli index"),
    ] {
        let response = stack.send(get(path, &[("accept-encoding", accept)])).await;
        assert_eq!(response.status(), 200, "{path} {accept}");
        assert_eq!((response.header("content-encoding"), response.text().as_str()), (encoding, body), "{path} {accept}");
        assert_eq!(response.header("vary"), "Accept-Encoding", "{path} {accept}");
        assert_eq!(response.header("content-length"), body.len().to_string(), "{path} {accept}");
    }
    let response = stack.send(get("/a.css", &[("accept-encoding", "zstd")])).await;
    assert_eq!(response.header("content-type"), "text/css; charset=utf-8");
}

#[tokio::test]
async fn each_representation_has_its_own_tag_and_its_own_ranges() {
    let site = site();
    let stack = stack(site.app("{}"));
    let mut tags = Vec::new();
    for accept in ["zstd", "br", "gzip", "identity"] {
        tags.push(stack.send(get("/a.css", &[("accept-encoding", accept)])).await.header("etag").to_owned());
    }
    let br = tags[1].clone();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "{tags:?}");

    let same = stack.send(get("/a.css", &[("accept-encoding", "br"), ("if-none-match", &br)])).await;
    assert_eq!((same.status().as_u16(), same.header("vary")), (304, "Accept-Encoding"));
    assert_eq!(stack.send(get("/a.css", &[("accept-encoding", "gzip"), ("if-none-match", &br)])).await.status(), 200);

    let part = stack.send(get("/a.css", &[("accept-encoding", "br"), ("range", "bytes=0-2"), ("if-range", &br)])).await;
    assert_eq!((part.text().as_str(), part.header("content-range"), part.header("content-encoding")), ("bro", "bytes 0-2/6", "br"));
    let other = stack.send(get("/a.css", &[("accept-encoding", "gzip"), ("range", "bytes=0-2"), ("if-range", &br)])).await;
    assert_eq!((other.status().as_u16(), other.text().as_str()), (200, "gzip"));
}

#[tokio::test]
async fn a_stale_sibling_is_left_aside() {
    let site = site();
    for (age, body) in [(1, "gzip"), (2, "plain b.js")] {
        File::options().write(true).open(site.path("b.js.gz")).unwrap().set_modified(modified() - Duration::from_secs(age)).unwrap();
        assert_eq!(stack(site.app("{}")).send(get("/b.js", &[("accept-encoding", "gzip")])).await.text(), body, "{age} s older");
    }
}

#[tokio::test]
async fn a_sibling_alone_is_no_file_and_asked_for_by_name_is_a_file_like_any_other() {
    let site = site();
    let stack = stack(site.app("{}"));
    assert_eq!(stack.send(get("/lonely.css", &[("accept-encoding", "gzip")])).await.status(), 404);
    let direct = stack.send(get("/a.css.gz", &[("accept-encoding", "gzip")])).await;
    assert_eq!((direct.header("content-type"), direct.header("content-encoding")), ("application/gzip", ""));
}

#[tokio::test]
async fn a_sibling_that_leaves_the_root_or_is_no_file_is_left_aside() {
    let site = Site::new().file("a.css", "plain");
    std::fs::write(site.path("../secret"), "SECRET").unwrap();
    std::os::unix::fs::symlink("../secret", site.path("a.css.gz")).unwrap();
    std::fs::create_dir(site.path("a.css.br")).unwrap();
    assert_eq!(stack(site.app("{}")).send(get("/a.css", &[("accept-encoding", "gzip, br")])).await.text(), "plain");
}

#[tokio::test]
async fn siblings_can_be_left_out_of_account() {
    let site = site();
    let stack = stack(site.app(r#"{"precompressed": false}"#));
    let response = stack.send(get("/a.css", &[("accept-encoding", "br")])).await;
    assert_eq!((response.text().as_str(), response.header("vary")), ("plain a.css", ""));
}
