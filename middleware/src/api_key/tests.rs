//! `api_key` in a stack.

use std::time::Duration;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;
use crate::{Body, TestStack};

/// A file with the keys of `ann` (scope `read`), and of `root` (`read` and `admin`).
fn file() -> (NamedTempFile, String, String) {
    let file = NamedTempFile::new().unwrap();
    let (ann, root) = (NewKey::new("ann", &["read".into()]).unwrap(), NewKey::new("root", &["read".into(), "admin".into()]).unwrap());
    std::fs::write(file.path(), format!("# keys\n\n{}\r\n{}\n", ann.line, root.line)).unwrap();
    (file, ann.key, root.key)
}

/// Over an app that says who it was told has come, and what it sees of keys.
fn stack(file: &NamedTempFile, more: &str) -> TestStack {
    let options = format!(r#"{{ "keys": "{}"{more} }}"#, file.path().display());
    TestStack::of::<ApiKey>(&options).over(async |request: Request| {
        let user = request.extensions().get::<RemoteUser>().map(|user| format!("{} by {}", user.user, user.auth_type));
        let keys = ["authorization", "x-api-key"].map(|name| request.headers().contains_key(name));
        Response::new(Body::from(format!("{} {keys:?} {}", user.unwrap_or_default(), request.uri())))
    })
}

#[tokio::test]
async fn a_known_key_lets_its_owner_in_and_tells_the_app() {
    let (file, ann, _) = file();
    let stack = stack(&file, "");
    let response = stack.get("/").header("authorization", &format!("Bearer {ann}")).await;
    assert_eq!(response.text(), "ann by Bearer [true, false] /");
    assert_eq!(&*response.head().extensions().get::<RemoteUser>().unwrap().user, "ann");
    assert_eq!(stack.get("/").header("x-api-key", &ann).await.text(), "ann by ApiKey [false, true] /");
    assert!(stack.metrics().contains("ziggurat_auth_decisions_total{place=\"api_key\",decision=\"allowed\"} 2\n"), "{}", stack.metrics());
}

#[tokio::test]
async fn other_requests_are_refused_with_the_reason_that_rfc_6750_has() {
    let (file, ann, root) = file();
    let stack = stack(&file, r#", "scopes": ["read", "admin"], "realm": "the \"api\"""#);
    let challenge = async |name: &'static str, value: &str| {
        let response = stack.get("/").header(name, value).await;
        (response.status().as_u16(), response.header("www-authenticate").to_owned())
    };
    let start = r#"Bearer realm="the \"api\"""#;
    assert_eq!(challenge("x-other", &root).await, (401, start.to_owned()));
    assert_eq!(challenge("authorization", &format!("Basic {root}")).await, (401, start.to_owned()));
    assert_eq!(challenge("cookie", &format!("x-api-key={root}")).await.0, 401);
    for wrong in ["", "x", &root[1..], &format!("{root}="), &root.to_lowercase()] {
        assert_eq!(challenge("x-api-key", wrong).await, (401, format!(r#"{start}, error="invalid_token""#)), "{wrong}");
    }
    assert_eq!(challenge("x-api-key", &ann).await, (403, format!(r#"{start}, error="insufficient_scope", scope="read admin""#)));
    assert_eq!(challenge("x-api-key", &root).await.0, 200);
    let several = stack.get("/").header("x-api-key", &root).header("authorization", &format!("Bearer {root}")).await;
    assert_eq!(several.status(), 400);
    assert_eq!(stack.get(&format!("/?x-api-key={root}")).await.status(), 401);
    let log = stack.log().join("\n");
    assert!(log.contains("the API key is not known") && log.contains("the API key of `ann` lacks a scope"), "{log}");
    assert!(!log.contains(&root[..8]) && !log.contains(&ann[..8]), "{log}");
    for (decision, count) in [("allowed", 1), ("missing", 4), ("invalid", 6), ("forbidden", 1), ("unavailable", 0)] {
        let line = format!("ziggurat_auth_decisions_total{{place=\"api_key\",decision=\"{decision}\"}} {count}\n");
        assert!(stack.metrics().contains(&line), "{line} {}", stack.metrics());
    }
}

#[tokio::test]
async fn the_app_does_not_see_the_key_if_the_file_says_so() {
    let (file, ann, _) = file();
    let stack = stack(&file, r#", "from": ["header:x-api-key", "query:key", "bearer"], "remove": true"#);
    assert_eq!(stack.get("/").header("x-api-key", &ann).await.text(), "ann by ApiKey [false, false] /");
    assert_eq!(stack.get("/").header("authorization", &format!("Bearer {ann}")).await.text(), "ann by Bearer [false, false] /");
    assert_eq!(stack.get(&format!("/a?x=1&key={ann}")).await.text(), "ann by ApiKey [false, false] /a?x=1");
    assert_eq!(stack.get("/").await.header("www-authenticate"), r#"ApiKey realm="restricted""#);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_leaves_the_file_is_out_within_a_second_whatever_else_is_wrong_with_it() {
    let (file, ann, root) = file();
    let stack = stack(&file, "");
    let lines = std::fs::read_to_string(file.path()).unwrap();
    let new = NewKey::new("new", &[]).unwrap();
    let statuses = async || {
        tokio::time::advance(Duration::from_millis(1_001)).await;
        let mut statuses = Vec::new();
        for key in [&ann, &root, &new.key] {
            statuses.push(stack.get("/").header("x-api-key", key).await.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 401]);
    let (ann_line, root_line) = (lines.lines().nth(2).unwrap(), lines.lines().nth(3).unwrap());
    std::fs::write(file.path(), format!("{ann_line}\n{}\n", new.line)).unwrap();
    assert_eq!(statuses().await, [200, 401, 200]);
    std::fs::write(file.path(), format!("{root_line}\nbroken\n{}\n", new.line)).unwrap();
    assert_eq!(statuses().await, [401, 401, 200], "no new key while a line is broken");
    assert_eq!(stack.lifecycle().status()[0].1["entries"], 1);
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(statuses().await, [503; 3]);
    assert!(stack.lifecycle().status()[0].1["entries"].is_null());
    std::fs::write(file.path(), lines).unwrap();
    assert_eq!(statuses().await, [200, 200, 401]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_gives_no_key_a_further_scope() {
    let (file, ann, _) = file();
    let stack = stack(&file, r#", "scopes": "admin""#);
    let lines = std::fs::read_to_string(file.path()).unwrap();
    std::fs::write(file.path(), lines.replacen("read", "read admin", 1) + "broken\n").unwrap();
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert_eq!(stack.get("/").header("x-api-key", &ann).await.status(), 403);
}

#[test]
fn files_and_options_that_cannot_be_meant_are_refused_without_their_hashes() {
    let refusal = |options: &str| TestStack::refusal::<ApiKey>(options).join("; ");
    assert!(refusal(r#""/nowhere/keys""#).contains("cannot read `/nowhere/keys`"));
    let file = NamedTempFile::new().unwrap();
    let hash = "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea";
    let path = file.path().display().to_string();
    std::fs::write(file.path(), format!("a:{hash}\nb:{}\nc\n:{hash}\na:{}\nd:{hash}:x\"y\n", &hash[1..], hash.replace('a', "b"))).unwrap();
    let said = refusal(&format!("\"{path}\""));
    for expected in [
        "line 2: the hash is not a SHA-256",
        "line 3: there is no `:`",
        "line 4: the name is empty",
        "line 5: the name is used by a line above",
        "line 6: a scope has a character",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert!(!said.contains("97516c"), "{said}");
    std::fs::write(file.path(), "# none\n").unwrap();
    assert!(refusal(&format!("\"{path}\"")).contains("it has no key"));
    assert!(refusal(r#"{ "keys": "k", "from": [] }"#).contains("no request can have a key"));
    assert!(refusal(r#"{ "keys": "k", "from": "body:x" }"#).contains("no place of a token"));
    assert!(refusal(r#"{ "keys": "k", "scopes": "read write" }"#).contains("`read write` is not a scope"));
}

proptest! {
    #[test]
    fn no_key_but_a_known_one_is_let_in(line in prop::collection::vec(any::<u8>(), 0..60)) {
        let (file, ..) = file();
        let keys = CredentialFile::<Keys>::open(file.path().to_owned()).unwrap().last();
        let options = serde_json::from_value(serde_json::json!({ "keys": file.path() })).unwrap();
        let gate = Gate::new(options).unwrap();
        let mut request = crate::request(http::Method::GET, "/", Body::empty());
        for name in ["authorization", "x-api-key"] {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                request.headers_mut().append(name, value);
            }
        }
        prop_assert!(gate.judge(keys.as_deref(), &mut request).is_err());
    }
}
