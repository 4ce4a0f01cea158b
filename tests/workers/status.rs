//! What is told about workers: status, metrics, stacks.

use std::fs;
use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::site::{SITE, ask, kill, pid, wait_until};
use crate::support::{Program, command};

const PIPELINE: &str = r#"{
    "listen": "127.0.0.1:0", "server": { "control": "control.sock" },
    "app": { "routes": [
        { "match": { "path": "/metrics" }, "app": { "metrics": {} } },
        { "app": { "wsgi": { "app": "site_under_test:app", "workers": 2, "threads": 3, "queue": { "limit": 7 } } } }
    ] }
}"#;

fn status(program: &Program) -> Value {
    let output = command(program.folder()).args(["status", "--json"]).output().unwrap();
    let mut status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["apps"].as_array_mut().unwrap().iter_mut().map(Value::take).find(|app| !app["workers"].is_null()).unwrap()
}

#[test]
fn status_and_metrics_tell_of_workers_queue_and_restarts() {
    let mut program = Program::start(PIPELINE, &[("site_under_test.py", SITE)]);
    let worker = pid(&program);
    kill("KILL", worker);
    program.wait_for_log("another worker has taken its place");
    let served = pid(&program);
    let mut waiting = program.connect();
    waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());

    let app = status(&program);
    assert_eq!((&app["app"], &app["threads"], &app["busy"]), (&json!("site_under_test:app"), &json!(6), &json!(1)), "{app:#}");
    assert_eq!((&app["queue"]["length"], &app["queue"]["limit"]), (&json!(0), &json!(7)), "{app:#}");
    assert_eq!((&app["restarts"], &app["last_restart"]["reason"]), (&json!({ "crash": 1 }), &json!("crash")), "{app:#}");
    let workers = app["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{app:#}");
    assert!(workers.iter().all(|worker| worker["state"] == "ready" && worker["memory"].as_u64() > Some(1 << 20)), "{app:#}");
    let busy: u64 = workers.iter().filter_map(|worker| worker["busy"].as_u64()).sum();
    let begun: u64 = workers.iter().filter_map(|worker| worker["begun"].as_u64()).sum();
    assert_eq!((busy, begun), (1, 2), "{app:#}");
    assert!(workers.iter().any(|worker| worker["pid"] == served), "{app:#}");

    let (_, metrics) = ask(program.address(), "/metrics");
    let place = app["place"].as_str().unwrap();
    for line in [
        format!("ziggurat_wsgi_workers{{app=\"{place}\"}} 2\n"),
        format!("ziggurat_wsgi_threads_busy{{app=\"{place}\"}} 1\n"),
        format!("ziggurat_wsgi_queue_length{{app=\"{place}\"}} 0\n"),
        format!("ziggurat_wsgi_queue_wait_seconds_count{{app=\"{place}\"}} 3\n"),
        format!("ziggurat_wsgi_requests_total{{app=\"{place}\"}} 3\n"),
        format!("ziggurat_wsgi_restarts_total{{app=\"{place}\",reason=\"crash\"}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }

    fs::write(program.folder().join("go"), "").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn the_stacks_of_all_workers_go_to_the_log_at_sigusr2() {
    let mut program = Program::start(PIPELINE, &[("site_under_test.py", SITE)]);
    let mut waiting = program.connect();
    waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());
    program.signal("USR2");
    let line = program.wait_for_log("site_under_test.py\", line");
    assert!(line.contains("in app"), "{line}");
}
