//! Layers act in the order of the file, Python's and native ones alike, and each may answer by itself or ask more than once.

use crate::support::{EXECUTORS, Site, get};

/// A layer that leaves its name on the way in and on the way out.
fn python(name: &str) -> String {
    format!(r#"{{ "wsgi": {{ "middleware": "across:Tag", "args": ["{name}"] }} }}"#)
}

fn native(name: &str) -> String {
    format!(
        r#"{{ "headers": {{ "request": {{ "append": {{ "x-trail": "{name}" }} }}, "response": {{ "append": {{ "x-order": "{name}" }} }} }} }}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_act_in_the_order_of_the_file() {
    for executor in EXECUTORS {
        for order in ["n1 p1", "p1 n1", "p1 p2", "n1 p1 n2 p2 n3", "p1 n1 p2 n2 p3 n3", "n1 n2 p1 p2 n3 n4 p3", "p1 n1 n2 n3 p2"] {
            let names: Vec<&str> = order.split(' ').collect();
            let layers: Vec<String> = names.iter().map(|name| if name.starts_with('p') { python(name) } else { native(name) }).collect();
            let site = Site::new(&format!("[{}]", layers.join(", ")), "across:app", executor);
            let answer = site.get("/about").await;
            assert_eq!(answer.json()["HTTP_X_TRAIL"], names.join(", "), "{order} with {executor:?}");
            let outwards: Vec<&str> = names.iter().rev().copied().collect();
            assert_eq!(answer.all("x-order"), outwards, "{order} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_layer_may_answer_by_itself() {
    for executor in EXECUTORS {
        let layers = format!(r#"[{}, {{ "wsgi": "across:Early" }}, {}]"#, native("above"), native("below"));
        let site = Site::new(&layers, "across:app", executor);
        let early = site.get("/early").await;
        assert_eq!((early.seen(), early.all("x-order")), ((403, "early".to_owned(), false), vec!["above"]));
        assert_eq!(site.get("/plain").await.all("x-order"), ["below", "above"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_layer_between_may_answer_and_python_above_sees_it() {
    for executor in EXECUTORS {
        let layers = format!(r#"[{}, {{ "static": {{ "at": "/files", "root": "@FOLDER" }} }}, {}]"#, python("p"), native("below"));
        let site = Site::new(&layers, "across:app", executor);
        site.write("page.txt", b"a piece of text");
        let file = site.get("/files/page.txt").await;
        assert_eq!((file.status.as_u16(), file.text()), (200, "a piece of text".to_owned()));
        assert_eq!((file.all("x-order"), file.header("content-length")), (vec!["p"], file.body.len().to_string().as_str()));
        let part = site.send(get("/files/page.txt", &[("range", "bytes=2-6")])).await;
        assert_eq!(part.seen(), (206, "piece".to_owned(), false));
        let etag = file.header("etag").to_owned();
        let fresh = site.send(get("/files/page.txt", &[("if-none-match", &etag)])).await;
        assert_eq!((fresh.seen(), fresh.header("etag")), ((304, String::new(), false), etag.as_str()));
        assert_eq!(site.get("/plain").await.all("x-order"), ["below", "p"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_of_native_layers_pass_through_python() {
    let octets: Vec<u8> = (0..5_000_000_u32).map(|nth| nth.to_le_bytes()[nth as usize % 3]).collect();
    for executor in EXECUTORS {
        let layers = r#"[{ "wsgi": "across:Generator" }, { "static": { "at": "/files", "root": "@FOLDER" } },
            { "sendfile": { "at": "/kept", "root": "@FOLDER" } }, { "wsgi": "across:Through" }]"#;
        let site = Site::new(layers, "across:app", executor);
        site.write("large.bin", &octets);
        let file = site.get("/files/large.bin").await;
        assert!(file.body == octets && !file.broken, "{} of {}", file.body.len(), octets.len());
        let part = site.send(get("/files/large.bin", &[("range", "bytes=100-3000099")])).await;
        assert!(part.status == 206 && part.body == octets[100..3_000_100], "{executor:?}");
        let named = site.send(get("/names_a_file", &[("x-file", "/kept/large.bin")])).await;
        assert!(named.body == octets, "{executor:?}: {} {} {}", named.status, named.body.len(), site.log());
        // A reader that leaves.
        let mut response = site.call(get("/files/large.bin", &[])).await;
        assert!(crate::support::next_frame(&mut response).await.is_some());
        drop(response);
        assert_eq!(site.get("/plain").await.text(), "plain");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_sign_on_between_guards_what_is_below() {
    for executor in EXECUTORS {
        let layers = r#"[{ "wsgi": "across:SignOn" }, { "basic_auth": "@FOLDER/users" }, { "wsgi": "across:Through" }]"#;
        let site = Site::new(layers, "across:app", executor);
        let refused = site.get("/about").await;
        assert!(refused.status == 401 && refused.header("www-authenticate").starts_with("Basic"), "{executor:?}");
        let known = site.send(get("/about", &[("authorization", "Basic YW5uOnNlY3JldA=="), ("x-user", "mallory")])).await;
        let environ = known.json();
        assert_eq!((environ["REMOTE_USER"].as_str(), environ["AUTH_TYPE"].as_str()), (Some("ann"), Some("Basic")), "{executor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_layer_may_call_twice() {
    for executor in EXECUTORS {
        for keep in [false, true] {
            let retry = format!(r#"{{ "wsgi": {{ "middleware": "across:Retry", "kwargs": {{ "keep": {keep} }} }} }}"#);
            for layers in [
                format!("[{retry}]"),
                format!(r#"[{retry}, "headers", {{ "wsgi": "across:Through" }}]"#),
                format!(r#"[{{ "wsgi": "across:Through" }}, "security_headers", {retry}, "compress", {{ "body_limit": "1MiB" }}]"#),
            ] {
                let site = Site::new(&layers, "across:app", executor);
                let closed = site.noted("app closed").await;
                let answer = site.post("/fails_once", "the body").await;
                assert_eq!(answer.seen(), (200, "the body".to_owned(), false), "{layers} with {executor:?}");
                assert_eq!(site.noted("app closed").await, closed + 1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_paste_deploy_is_a_layer() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi/apps");
    for executor in EXECUTORS {
        for middleware in ["egg:factories#made", "egg:factories#mark", "factories:filter_factory()", "factories:Mark"] {
            let layer =
                serde_json::json!({ "middleware": middleware, "args": [{ "debug": "no" }], "kwargs": { "a.b": "c" }, "path": path });
            let site = Site::new(&serde_json::json!([{ "wsgi": layer }]).to_string(), "across:app", executor);
            let answer = site.get("/").await;
            assert_eq!(answer.headers["x-mark"], "{'debug': 'no'} {'a.b': 'c'}", "{middleware} {executor:?}");
        }
    }
}
