//! The layer in memory: no sockets, no Python.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::{Duration, advance};

use super::*;

/// SHA-256 of `ada-s-key` and `grace-s-key`.
const ADA: &str = "ada:4d7175887055be96c9f8770e9d768785e1c82147522eba436dedeed57b4768fd\n";
const GRACE: &str = "grace:036eed8e1b267db0b37602ea6e665504d44d61c5dac5f276f839c6ffd0196050\n";

/// An app that says what it is told, under the layer with these keys.
fn gate(keys: &str) -> (TestStack, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, keys).unwrap();
    let options = format!(r#"{{ "keys": "{}", "except": ["/healthz"] }}"#, file.display());
    (TestStack::of::<PartnerKey>(&options).over(whoami), folder)
}

async fn whoami(request: Request) -> Response {
    let user = request.extensions().get::<RemoteUser>().map_or("nobody", |user| &user.user).to_owned();
    let header = request.headers().get("x-partner").map_or("nobody", |owner| owner.to_str().unwrap());
    assert!(!request.headers().contains_key("x-partner-key"), "the key itself is not for the app");
    Response::new(Body::from(format!("{user} {header}")))
}

#[tokio::test]
async fn the_app_is_told_whose_key_it_is() {
    let (stack, _folder) = gate(&[ADA, "# comment\n\n", GRACE].concat());
    assert_eq!(stack.get("/").header("x-partner-key", "ada-s-key").await.text(), "ada ada");
    let response = stack.get("/").header("x-partner-key", "grace-s-key").header("x-partner", "ada").await;
    assert_eq!(response.text(), "grace grace");
    let fact = response.head().extensions().get::<RemoteUser>().unwrap();
    assert_eq!((&*fact.user, &*fact.auth_type), ("grace", "PartnerKey"));
}

#[tokio::test]
async fn whoever_has_no_known_key_never_reaches_the_app() {
    let (stack, _folder) = gate(ADA);
    let missing = stack.get("/").await;
    assert_eq!((missing.status(), missing.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "PartnerKey"));
    assert_eq!(missing.text(), "401 Unauthorized\na known key is needed in the header `x-partner-key`\n");
    assert_eq!(stack.get("/").header("x-partner-key", "ada-s-kez").await.status(), 401);
    assert_eq!(stack.get("/").header("x-partner-key", "ada-s-key").header("x-partner-key", "ada-s-key").await.status(), 401);
}

#[tokio::test]
async fn a_path_that_needs_no_key_is_nobody_s_whatever_the_client_claims() {
    let (stack, _folder) = gate(ADA);
    assert_eq!(stack.get("/healthz").header("x-partner", "ada").await.text(), "nobody nobody");
    assert_eq!(stack.get("/healthz/").await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_counts_within_a_second_and_a_broken_one_never() {
    let (stack, folder) = gate(ADA);
    let file = folder.path().join("keys");
    let status = async |key: &str| stack.get("/").header("x-partner-key", key).await.status().as_u16();
    fs::write(&file, [ADA, GRACE].concat()).unwrap();
    assert_eq!(status("grace-s-key").await, 401);
    advance(Duration::from_secs(1)).await;
    assert_eq!(status("grace-s-key").await, 200);

    fs::write(&file, "ada:secret\n").unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(status("ada-s-key").await, 200);
    assert_eq!(stack.log(), [format!("ERROR the keys stay as they were: line 1 of `{}` is no key", file.display())]);

    fs::write(&file, GRACE).unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(status("ada-s-key").await, 401);
}

#[tokio::test]
async fn the_figures_tell_who_was_let_in() {
    let (stack, _folder) = gate(ADA);
    stack.get("/").await;
    stack.get("/").header("x-partner-key", "ada-s-key").await;
    stack.get("/").header("x-partner-key", "ada-s-key").await;
    assert!(stack.metrics().contains("partner_key_requests_total{place=\"partner_key\",key=\"known\"} 2\n"), "{}", stack.metrics());
    assert!(stack.metrics().contains("partner_key_requests_total{place=\"partner_key\",key=\"unknown\"} 1\n"));
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_in_its_place() {
    let said = program().test().refusal(
        r#"{
  "layers": [{ "partner_key": { "keys": "keys", "owner": "X-Partner-Key", "except": ["/healthz", "robots.txt"] } }],
  "app": { "respond": 204 }
}"#,
    );
    assert!(said.contains("error: the owner would be told in the header of the key\n --> pipeline.json:2:58\n"), "{said}");
    assert!(said.contains("error: `robots.txt` is not a path\n --> pipeline.json:2:98\n"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_stops_the_start() {
    let refusal = TestStack::refusal::<PartnerKey>(r#""no-such-file""#);
    assert!(refusal[0].contains("no-such-file") && refusal[0].contains("sha256sum"), "{refusal:?}");
}

#[tokio::test]
async fn the_example_s_own_pipeline_is_sound() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.json");
    let stack = program().test().wsgi("whoami:app", whoami).file(file);
    assert_eq!(stack.get("/healthz").await.status(), 204);
    assert_eq!(stack.get("/").await.status(), 401);
    assert_eq!(stack.get("/").header("x-partner-key", "demo").await.text(), "demo demo");
}
