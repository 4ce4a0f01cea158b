//! What the options may say.

use http::HeaderValue;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::{Body, Response, TestStack};

use crate::support::Site;

#[tokio::test]
async fn one_folder_needs_no_list() {
    let site = Site::new().file("private/a.txt", "a");
    let options = serde_json::json!({ "at": "/protected", "root": site.path("private") }).to_string();
    let stack = TestStack::of::<Sendfile>(&options).over(async |_| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("x-accel-redirect", HeaderValue::from_static("/protected/a.txt"));
        response
    });
    assert_eq!(stack.get("/").await.text(), "a");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    for (options, expected) in [
        ("null", "no folder is given (hint: name one with `root`, or several with `roots`)"),
        (r#"{"at": "p", "root": "."}"#, "`p` is not a URL path (hint: write `\"/p\"`)"),
        (
            r#"{"root": ".", "roots": [{"root": "."}]}"#,
            "`root` cannot be combined with `roots` (hint: move it, with its `at`, into the list `roots`)",
        ),
        (r#"{"at": "/p", "roots": [{"root": "."}]}"#, "`at` cannot be combined with `roots` (hint: move it into one of `roots`)"),
        (r#"{"roots": [{"at": "p", "root": "."}]}"#, "`p` is not a URL path (hint: write `\"/p\"`)"),
        (r#"{"roots": [{"at": "/p", "root": "."}, {"at": "/p/", "root": "src"}]}"#, "`/p/` is used by another folder"),
    ] {
        assert_eq!(TestStack::refusal::<Sendfile>(options), [expected], "{options}");
    }
    for options in [r#""no-such-folder""#, r#"{"roots": [{"root": "no-such-folder"}]}"#] {
        let refusal = TestStack::refusal::<Sendfile>(options).join("");
        assert!(refusal.contains("no-such-folder`: no such file or directory (hint: create it"), "{refusal}");
    }
}
