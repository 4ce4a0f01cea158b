//! Which names have a file, and which never do.

use std::os::unix::fs::symlink;

use http::{HeaderValue, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::{Response, TestResponse, TestStack};

use crate::support::Site;

fn site() -> Site {
    let site = Site::new()
        .file("private/a.txt", "a")
        .file("private/with space.txt", "space")
        .file("private/caf\u{e9}.txt", "utf8")
        .file("private/100%.txt", "percent")
        .file("private/50%41.txt", "as it is")
        .file("private/60%41.txt", "as it is")
        .file("private/60A.txt", "decoded")
        .file("private/deep/b.txt", "b")
        .file("private/.env", "SECRET")
        .file("private/deep/.git/config", "SECRET")
        .file("media/private/c.txt", "c");
    symlink("a.txt", site.path("private/link_in")).unwrap();
    symlink("../secret", site.path("private/link_out")).unwrap();
    symlink(site.path("secret"), site.path("private/link_out_absolute")).unwrap();
    symlink(site.path("private-twin"), site.path("private/link_folder")).unwrap();
    symlink("..", site.path("private/deep/up")).unwrap();
    symlink(site.path("private"), site.path("alias")).unwrap();
    site
}

/// The text of what is found, `""` for 404.
fn found(response: &TestResponse) -> String {
    for header in ["x-accel-redirect", "x-sendfile"] {
        assert!(!response.headers().contains_key(header));
    }
    assert!(!response.text().contains("SECRET"));
    match response.status() {
        StatusCode::OK => response.text(),
        StatusCode::NOT_FOUND => {
            assert_eq!(response.text(), "404 Not Found\n");
            String::new()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn accel_redirects_name_files_below_an_at() {
    let site = site();
    for (uri, expected) in [
        ("/protected/a.txt", "a"),
        ("/protected/with%20space.txt", "space"),
        ("/protected/with space.txt", "space"),
        ("/protected/caf%C3%A9.txt", "utf8"),
        ("/protected/caf\u{e9}.txt", "utf8"),
        ("/protected/100%25.txt", "percent"),
        ("/protected/100%.txt", ""),
        ("/%70rotected/a.txt", "a"),
        ("/protected/link_in", "a"),
        ("/protected/deep/up/a.txt", "a"),
        ("/media/private/c.txt", "c"),
        ("/protected", ""),
        ("/protected/", ""),
        ("/protected/deep", ""),
        ("/protected/deep/", ""),
        ("/protected/a.txt/", ""),
        ("/protected/none", ""),
        ("/protected//a.txt", ""),
        ("//protected/a.txt", ""),
        ("/protectedx/a.txt", ""),
        ("/protected-twin/secret", ""),
        ("/protected/../secret", ""),
        ("/protected/..%2fsecret", ""),
        ("/protected/%2e%2e/secret", ""),
        ("/protected/%2e%2e%2fsecret", ""),
        ("/protected/..\\secret", ""),
        ("/protected/./a.txt", ""),
        ("/protected/a.txt%00.png", ""),
        ("/protected/.env", ""),
        ("/protected/%2eenv", ""),
        ("/protected/deep/.git/config", ""),
        ("/protected/link_out", ""),
        ("/protected/link_out_absolute", ""),
        ("/protected/link_folder/secret", ""),
        ("/protected/deep/up/../secret", ""),
        ("protected/a.txt", ""),
        ("@protected", ""),
        ("http://test/protected/a.txt", ""),
        ("?", ""),
        ("/", ""),
        ("", ""),
    ] {
        assert_eq!(found(&site.by_uri(uri.as_bytes()).await), expected, "{uri}");
    }
    assert_eq!(found(&site.by_uri(site.path("private/a.txt").to_str().unwrap().as_bytes()).await), "");
}

#[tokio::test]
async fn sendfile_paths_lie_inside_a_folder() {
    let site = site();
    for (path, expected) in [
        ("private/a.txt", "a"),
        ("private/with%20space.txt", "space"),
        ("private/with space.txt", "space"),
        ("private/deep/b.txt", "b"),
        // As they are, for there is no other reading.
        ("private/100%.txt", "percent"),
        ("private/50%41.txt", "as it is"),
        ("private/50%2541.txt", "as it is"),
        // One name, two files.
        ("private/60%41.txt", ""),
        ("private/60A.txt", "decoded"),
        ("media/private/c.txt", "c"),
        ("private", ""),
        ("private/", ""),
        ("secret", ""),
        ("private-twin/secret", ""),
        ("private/../secret", ""),
        ("private/../private/a.txt", ""),
        ("media/../secret", ""),
        ("private/%2e%2e/secret", ""),
        ("private%2fa.txt", ""),
        ("private/.env", ""),
        ("private/link_out", ""),
        ("private/link_folder/secret", ""),
        ("alias/a.txt", ""),
        ("/etc/passwd", ""),
        ("/proc/self/environ", ""),
        ("/protected/a.txt", ""),
    ] {
        assert_eq!(found(&site.by_path(path).await), expected, "{path}");
    }
    let relative = site.over(&[("x-sendfile", "private/a.txt")]).get("/").await;
    assert_eq!(found(&relative), "");
}

#[tokio::test]
async fn a_folder_behind_a_link_is_known_by_both_its_names() {
    let site = site();
    for root in ["alias", "private", "media/../private"] {
        let options = serde_json::json!({ "root": site.path(root) }).to_string();
        for path in ["alias/a.txt", "private/a.txt"] {
            let value = HeaderValue::try_from(site.path(path).to_str().unwrap()).unwrap();
            let stack = TestStack::of::<Sendfile>(&options).over(move |_| {
                let mut response = Response::default();
                response.headers_mut().insert("x-sendfile", value.clone());
                std::future::ready(response)
            });
            let known = path == "private/a.txt" || root == "alias";
            assert_eq!(found(&stack.get("/").await), if known { "a" } else { "" }, "{path} of {root}");
        }
    }
}

#[tokio::test]
async fn two_names_are_none() {
    let site = site();
    let twice = site.over(&[("x-accel-redirect", "/protected/a.txt"), ("x-accel-redirect", "/protected/a.txt")]);
    assert_eq!(found(&twice.get("/").await), "");
    let both = site.over(&[("x-accel-redirect", "/protected/a.txt"), ("x-sendfile", "/protected/a.txt")]);
    assert_eq!(found(&both.get("/").await), "");
}

/// Whatever the app names, no octet comes from elsewhere.
#[test]
fn no_name_reaches_outside() {
    let site = site();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pieces = [
        "/",
        "..",
        ".",
        "%2e",
        "%2f",
        "%5c",
        "%00",
        "%",
        "\\",
        "?",
        "25",
        "private",
        "private-twin",
        "secret",
        "link_out",
        "link_folder",
        "deep",
        "up",
        ".env",
        "a.txt",
        "protected",
        "media",
    ];
    let heads = ["", "private", "private/", "private/..", "media/", "alias/"];
    let names = (prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10), prop::sample::select(heads.to_vec()));
    let checked = TestRunner::new(ProptestConfig::with_cases(3_000)).run(&names, |(tail, head)| {
        let tail = tail.concat();
        runtime.block_on(async {
            found(&site.by_path(&format!("{head}{tail}")).await);
            for at in ["", "/protected", "/protected/", "/media/"] {
                found(&site.by_uri(format!("{at}{tail}").as_bytes()).await);
            }
        });
        Ok(())
    });
    checked.unwrap();
}
