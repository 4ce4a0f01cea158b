//! What `ziggurat explain` says of a handshake is what the handshake comes to. It reads no private keys.

use std::process::Command;

use rustls::version::TLS13;

use super::authority::Authority;
use super::clients::authority as with_ann;
use super::names::{careless, certificate_for, site};
use super::support::{Site, body, with_certificate};

/// What is said of the listener of a request, in one line.
fn explain(site: &Site, tls: &str, url: &str, more: &[&str]) -> String {
    let explanation = explanation(site, tls, url, more);
    let notes: Vec<&str> = explanation["hops"][0]["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str()).collect();
    notes.join("; ").replace(&format!("{}/", site.authority.base().display()), "")
}

fn explanation(site: &Site, tls: &str, url: &str, more: &[&str]) -> serde_json::Value {
    let text = format!(r#"{{ "listen": {{ "at": "127.0.0.1:8443", "tls": {tls} }}, "app": {{ "respond": 200 }} }}"#);
    site.authority.write("explained.json", text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ziggurat"));
    let output = command.arg("explain").arg(site.authority.path("explained.json")).arg(url).arg("--json").args(more).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_certificate_that_a_client_gets_is_the_explained_one() {
    let (site, tls) = site();
    let client = careless(&site);
    for name in ["a.test", "WWW.A.TEST", "one.wild.test", "two.wild.test", "wild.test", "x.y.wild.test", "unknown.test", "10.0.0.1"] {
        let got = certificate_for(&client, name).await;
        let file = got.trim_start_matches("*.").split('.').next().unwrap();
        let said = explain(&site, &tls, &format!("https://{name}:8443/"), &[]);
        assert!(said.contains(&format!("in `{file}.pem`")), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_explained_as_it_is_answered() {
    let (site, tls) = site();
    let client = careless(&site);
    for (name, host) in [("a.test", "A.test.:8443"), ("a.test", "www.a.test"), ("one.wild.test", "two.wild.test"), ("10.0.0.1", "a.test")] {
        let answer = client.get_host(name, host).await.unwrap();
        let explained = &explanation(&site, &tls, &format!("https://{name}:8443/"), &["-H", &format!("host: {host}")])["status"];
        assert!(answer.starts_with(&format!("HTTP/1.1 {explained} ")), "{name} {host}: {explained}, and {answer}");
    }
}

#[tokio::test]
async fn the_user_of_a_certificate_is_the_explained_one() {
    let tls = |client: &str| format!(r#"{{ "cert": "site.pem", "key": "site.key"{client} }}"#);
    let asked = |user: &str| tls(&format!(r#", "client": {{ "ca": "ca.pem", "required": false{user} }}"#));
    for (tls, said, user) in [
        (asked(r#", "user": "cn""#), "for the user `ann`, by its `cn`", " CN=ann,O=Example as ann"),
        (asked(r#", "user": "subject""#), "for the user `CN=ann,O=Example`, by its `subject`", " as CN=ann,O=Example"),
        (asked(""), "for site.test", " initial CN=ann,O=Example"),
        (tls(""), "no certificate is asked for, so the client shows none", " initial"),
    ] {
        let site = Site::start(with_ann(), &tls);
        let answer = with_certificate(&site, &[&TLS13], "ann").get("site.test").await.unwrap();
        assert!(body(&answer).ends_with(user), "{answer}");
        let explained = explain(&site, &tls, "https://site.test:8443/", &["--client-cert", "CN=ann,O=Example"]);
        assert!(explained.ends_with(said), "{explained}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_explained_as_one() {
    let tls = r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem" } }"#;
    let site = Site::start(with_ann(), tls);
    assert!(site.client().get("site.test").await.is_err());
    assert!(explain(&site, tls, "https://site.test:8443/", &[]).ends_with("without one, the handshake fails"));
}

#[tokio::test]
async fn keys_are_not_read_and_missing_certificates_are_named() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let tls = r#"{ "cert": "site.pem", "key": "site.key" }"#;
    let site = Site::start(authority, tls);
    std::fs::remove_file(site.authority.path("site.key")).unwrap();
    assert!(explain(&site, tls, "https://site.test:8443/", &[]).contains("gets the certificate in `site.pem`, for site.test"));
    std::fs::remove_file(site.authority.path("site.pem")).unwrap();
    let said = explain(&site, tls, "https://site.test:8443/", &[]);
    assert!(said.contains("`site.pem`") && said.ends_with("without one, the handshake is refused"), "{said}");
}
