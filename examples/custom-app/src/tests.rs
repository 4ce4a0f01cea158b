//! The app in memory: no sockets, no Python.

use std::fs;
use std::path::Path;

use super::*;

const OPTIONS: &str = r#"{ "flags": { "new_checkout": false, "banner": true } }"#;

#[tokio::test]
async fn a_flag_stands_as_declared_until_it_is_turned() {
    let stack = TestStack::app::<FeatureFlags>(OPTIONS);
    assert_eq!(stack.get("/").await.text(), "{\"banner\":true,\"new_checkout\":false}\n");
    assert_eq!(stack.get("/new_checkout").await.text(), "false\n");
    let turned = stack.request(Method::PUT, "/new_checkout", "true").await;
    assert_eq!((turned.status(), turned.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(stack.get("/new_checkout").await.text(), "true\n");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_turns_nothing() {
    let stack = TestStack::app::<FeatureFlags>(OPTIONS);
    let put = async |target: &str, body: &'static str| stack.request(Method::PUT, target, body).await.status().as_u16();
    assert_eq!(put("/unknown", "true").await, 404);
    assert_eq!(put("/banner", "off").await, 400);
    assert_eq!(put("/banner", "false                                ").await, 400);
    let deleted = stack.request(Method::DELETE, "/banner", "").await;
    assert_eq!((deleted.status().as_u16(), deleted.header("allow")), (405, "GET, HEAD, PUT"));
    assert_eq!(stack.get("/unknown").await.status(), 404);
    assert_eq!(stack.get("/banner").await.text(), "true\n");
}

#[tokio::test]
async fn flags_outlive_a_restart_where_there_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    let options = |flags: &str| format!(r#"{{ "flags": {flags}, "saved_in": "{}" }}"#, file.display());
    let stack = TestStack::app::<FeatureFlags>(&options(r#"{ "banner": true, "old": true }"#));
    stack.request(Method::PUT, "/banner", "false").await;
    stack.shutdown().await;
    let stack = TestStack::app::<FeatureFlags>(&options(r#"{ "banner": true, "new": true }"#));
    assert_eq!(stack.get("/").await.text(), "{\"banner\":false,\"new\":true}\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_to_the_log() {
    let stack = TestStack::app::<FeatureFlags>(r#"{ "flags": { "banner": true }, "saved_in": "/no/such/folder/flags.json" }"#);
    stack.shutdown().await;
    let log = stack.log();
    assert!(log[0].starts_with("ERROR file=/no/such/folder/flags.json the flags cannot be saved: "), "{log:?}");
}

#[test]
fn mistakes_are_said_in_their_place() {
    let said = program().test().refusal("{ \"app\": { \"feature_flags\": {\n  \"flags\": { \"a b\": true, \"b/c\": false } } } }");
    assert!(said.contains("error: `a b` is not a name for a flag\n --> pipeline.json:2:21\n"), "{said}");
    assert!(said.contains("error: `b/c` is not a name for a flag\n --> pipeline.json:2:34\n"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    fs::write(&file, "[]").unwrap();
    let said = program()
        .test()
        .refusal(&format!(r#"{{ "app": {{ "feature_flags": {{ "flags": {{ "a": true }}, "saved_in": "{}" }} }} }}"#, file.display()));
    assert!(said.contains("holds no flags") && said.contains("option `saved_in` of app `feature_flags`"), "{said}");
}

#[tokio::test]
async fn the_example_s_own_pipeline_is_sound() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.json");
    let stack = program().test().wsgi("shop:app", async |_| Response::new(Body::from("the shop"))).file(file);
    assert_eq!(stack.get("/flags/new_checkout").await.text(), "false\n");
    assert_eq!(stack.request(Method::PUT, "/flags/new_checkout", "true").await.status(), 200);
    assert_eq!(stack.get("/").await.text(), "the shop");
}
