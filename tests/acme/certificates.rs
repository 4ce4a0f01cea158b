//! Certificates that are got, kept, renewed and shared.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::json;

use crate::pebble::{Pebble, free_ports, until};
use crate::site::{acme, ask, issued, pipeline, run, start};

#[test]
fn the_first_certificate_comes_by_each_challenge_and_a_restart_orders_nothing() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let pebble = Pebble::start();
        let store = tempfile::tempdir().unwrap();
        let options = acme(&pebble, store.path(), &["a.test", "B.test"], json!({ "challenge": challenge, "email": "admin@a.test" }));
        let text = pipeline(pebble.http, pebble.tls, &options);
        let mut program = start(&text);
        let first = issued(pebble.tls, "a.test");
        let second = issued(pebble.tls, "b.test");
        assert_ne!(first.serial, second.serial, "each name has its own");
        // HTTP-01 is answered before the stack, and only while it is asked for.
        assert!(program.get("/.well-known/acme-challenge/x").ends_with("the app"));
        assert!(program.get("/metrics").contains(r#"ziggurat_acme_attempts_total{outcome="issued"} 2"#));
        let orders = pebble.orders();
        program.signal("TERM");
        assert!(program.wait().success(), "{}", program.log());
        drop(program);
        let again = start(&text);
        assert_eq!(ask(pebble.tls, "a.test"), Some(first), "served from the first connection on");
        again.signal("HUP");
        issued(pebble.tls, "b.test");
        assert_eq!(pebble.orders(), orders, "{challenge}");
        let (code, list, _) = run("certs", &text);
        assert_eq!(code, 0, "{list}");
        assert!(list.contains("a.test\n") && list.contains("expires") && list.contains("Pebble"), "{list}");
        each_file(store.path(), &mut |file| {
            let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
        });
    }
}

#[test]
fn a_certificate_is_renewed_while_the_server_serves_and_also_when_the_authority_has_forgotten_the_account() {
    let mut pebble = Pebble::start_with(json!({ "certificateValidityPeriod": 10 }));
    let store = tempfile::tempdir().unwrap();
    let mut program = start(&pipeline(pebble.http, pebble.tls, &acme(&pebble, store.path(), &["a.test"], json!({}))));
    let first = issued(pebble.tls, "a.test");
    let mut second = None;
    until("a renewal", || {
        // Not one request is refused.
        second = Some(ask(pebble.tls, "a.test").unwrap());
        second.as_ref().unwrap().serial != first.serial
    });
    pebble.stop();
    pebble.start_again();
    let second = second.unwrap();
    until("a renewal with a new account", || ask(pebble.tls, "a.test").unwrap().issuer != second.issuer);
    program.wait_for_log("registering a new one");
}

#[test]
fn two_processes_share_one_store_and_either_answers_the_authority() {
    let pebble = Pebble::start();
    let store = tempfile::tempdir().unwrap();
    let names = acme(&pebble, store.path(), &["a.test"], json!({ "challenge": "http-01" }));
    let asked = start(&pipeline(pebble.http, pebble.tls, &names));
    let first = issued(pebble.tls, "a.test");
    let [http, tls] = free_ports();
    // The authority asks the other process about the second name.
    let names = acme(&pebble, store.path(), &["a.test", "c.test"], json!({ "challenge": "http-01" }));
    let ordering = start(&pipeline(http, tls, &names));
    assert_eq!(ask(tls, "a.test"), Some(first));
    until("a certificate for the second name", || {
        ask(tls, "c.test").is_some_and(|shown| shown.serial != ask(tls, "a.test").unwrap().serial)
    });
    assert_eq!(pebble.orders(), 2);
    drop((asked, ordering));
}

#[test]
fn a_reload_with_a_further_name_orders_that_one_alone() {
    let pebble = Pebble::start();
    let store = tempfile::tempdir().unwrap();
    let text = |names: &[&str]| pipeline(pebble.http, pebble.tls, &acme(&pebble, store.path(), names, json!({})));
    let program = start(&text(&["a.test"]));
    let first = issued(pebble.tls, "a.test");
    fs::write(program.folder().join("pipeline.json"), text(&["a.test", "b.test"])).unwrap();
    program.signal("HUP");
    until("a certificate for the second name", || ask(pebble.tls, "b.test").is_some_and(|shown| shown.serial != first.serial));
    assert_eq!(ask(pebble.tls, "a.test"), Some(first));
    assert_eq!(pebble.orders(), 2);
}

#[test]
fn a_server_that_becomes_a_user_orders_as_that_user() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("not tested: this process is not root's");
    }
    let pebble = Pebble::start();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = folder.path().join("var/acme");
    let text = pipeline(pebble.http, pebble.tls, &acme(&pebble, &store, &["a.test"], json!({})));
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["server"]["user"] = "daemon".into();
    let program = start(&file.to_string());
    issued(pebble.tls, "a.test");
    let user = fs::metadata(&store).unwrap().uid();
    assert_ne!(user, 0);
    each_file(&store, &mut |file| assert_eq!(fs::metadata(file).unwrap().uid(), user, "{}", file.display()));
    drop(program);
}

fn each_file(folder: &Path, look: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { each_file(&path, look) } else { look(&path) }
    }
}
