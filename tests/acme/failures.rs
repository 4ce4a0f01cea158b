//! What goes wrong leaves the site up, and is told.

use std::net::TcpListener;

use serde_json::json;

use crate::black_box::command;
use crate::pebble::{Pebble, until};
use crate::site::{acme, ask, issued, pipeline, run, start};

#[test]
fn a_dead_authority_keeps_no_site_from_starting_nor_the_old_certificate_from_being_served() {
    let mut pebble = Pebble::start_with(json!({ "certificateValidityPeriod": 16 }));
    let store = tempfile::tempdir().unwrap();
    let text = pipeline(pebble.http, pebble.tls, &acme(&pebble, store.path(), &["a.test"], json!({})));
    let mut program = start(&text);
    issued(pebble.tls, "a.test");
    pebble.stop();
    let line = program.wait_for_log("cannot get a certificate");
    assert!(line.contains("a.test") && line.contains("next attempt is in 1 min"), "{line}");
    let served = ask(pebble.tls, "a.test").unwrap();
    assert!(served.answer.ends_with("the app"));
    // Over a restart too, and told in the status.
    drop(program);
    let program = start(&text);
    assert_eq!(ask(pebble.tls, "a.test"), Some(served));
    let status = || {
        let output = command(program.folder()).args(["status", "pipeline.json"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (code, list, _) = run("certs", &text);
    assert_eq!(code, 1, "{list}");
    assert!(list.contains("cannot ask") && list.contains("failures in a row: 1"), "{list}");
    until("the status tells", || status().contains("cannot ask"));
    assert!(program.get("/metrics").contains(r#"ziggurat_acme_failures{name="a.test"} 1"#));
}

#[test]
fn without_a_certificate_the_handshake_is_refused_and_clear_text_is_served() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let pebble = Pebble::start();
    let store = tempfile::tempdir().unwrap();
    let options = json!({ "directory": format!("https://{}/dir", dead.local_addr().unwrap()) });
    let program = start(&pipeline(pebble.http, pebble.tls, &acme(&pebble, store.path(), &["a.test"], options)));
    assert_eq!(ask(pebble.tls, "a.test"), None);
    assert!(program.get("/").ends_with("the app"));
}

#[test]
fn a_binding_that_the_authority_refuses_is_told_as_such_and_a_good_one_is_used() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::start_with(json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } }));
    let store = tempfile::tempdir().unwrap();
    let with = |eab: serde_json::Value| pipeline(pebble.http, pebble.tls, &acme(&pebble, store.path(), &["a.test"], eab));
    for (eab, words) in [
        (json!({}), "wants an external account binding"),
        (json!({ "eab": { "key_id": "kid-2", "mac_key": key } }), "external account binding `kid-2`"),
    ] {
        let mut program = start(&with(eab));
        let line = program.wait_for_log("cannot get a certificate");
        assert!(line.contains(words), "{line}");
        drop(program);
        std::fs::remove_dir_all(store.path()).unwrap();
    }
    let program = start(&with(json!({ "eab": { "key_id": "kid-1", "mac_key": key } })));
    issued(pebble.tls, "a.test");
    drop(program);
}

#[test]
fn check_says_what_cannot_be_had_and_orders_nothing() {
    let pebble = Pebble::start();
    let store = tempfile::tempdir().unwrap();
    let options = acme(&pebble, &store.path().join("store"), &["a.test"], json!({ "challenge": "http-01" }));
    let (code, _, errors) = run("check", &pipeline(pebble.http, pebble.tls, &options));
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("port 80"), "{errors}");
    assert!(!store.path().join("store").exists());
    let missing = acme(&pebble, store.path(), &["a.test"], json!({ "ca": "/nonexistent.pem" }));
    let (code, _, errors) = run("check", &pipeline(pebble.http, pebble.tls, &missing));
    assert!(code != 0 && errors.contains("/nonexistent.pem"), "{errors}");
    assert_eq!(pebble.orders(), 0);
}
