//! `ziggurat conform` against this program, servers of others, and servers that are wrong on purpose.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../black_box/support.rs"]
#[allow(dead_code)]
mod support;

mod command;
mod fakes;
mod others;
mod server;
mod wrong;

use server::{Served, conform};

/// This program with the app of the suite, on its executors.
fn ziggurat(options: &str) -> support::Program {
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "app:application"{options} }} }} }}"#);
    support::Program::start(&pipeline, &[("app.py", &server::app())])
}

fn nothing_is_found(options: &str) {
    let program = ziggurat(options);
    let results = conform(program.address(), &[]);
    let found = results.found();
    assert!(found.is_empty(), "{}", results.text(&found));
    assert!(results.passed.len() >= 200 && results.skipped.is_empty(), "{:?}", results.skipped);
}

#[test]
fn ziggurat_passes_every_case_in_worker_processes() {
    nothing_is_found(r#", "workers": 2, "threads": 4"#);
}

#[test]
fn ziggurat_passes_every_case_with_its_defaults() {
    nothing_is_found("");
}

#[test]
fn ziggurat_passes_every_case_with_threads_of_its_own_process() {
    nothing_is_found(r#", "workers": 0, "threads": 4"#);
}

#[test]
fn ziggurat_passes_every_case_over_tls_and_its_certificate_is_verified() {
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let pipeline = r#"{
        "listen": { "at": "127.0.0.1:0", "tls": { "cert": "site.pem", "key": "site.key" } },
        "app": { "wsgi": { "app": "app:application", "workers": 2, "threads": 4 } }
    }"#;
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let files = [("app.py", &*server::app()), ("site.pem", &*cert), ("site.key", &*key), ("other.pem", &*other.cert.pem())];
    let program = support::Program::start(pipeline, &files);
    let run = |arguments: &[&str]| {
        let mut command = support::command(program.folder());
        command.args(["conform", "--against", &format!("https://{}", program.address())]).args(arguments);
        command
    };
    let results = server::results(run(&["--ca", "site.pem"]));
    let found = results.found();
    assert!(found.is_empty(), "{}", results.text(&found));
    assert!(results.passed.len() >= 200 && results.skipped.is_empty(), "{:?}", results.skipped);
    assert_eq!(server::results(run(&["--insecure", "--only", "environ-url-scheme"])).passed.len(), 1);
    let refused = run(&["--ca", "other.pem"]).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && message.contains("no TLS: invalid peer certificate"), "{message}");
}

#[test]
fn the_run_ends_though_a_server_never_answers() {
    let silent =
        Served::python("import socket, app\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ninput()");
    let output = server::command(silent.address, &[]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && message.contains("nothing more comes"), "{message}");
}
