//! The control socket, and the commands that speak over it; the `metrics` app.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use crate::slow::SLOW;
use crate::support::{PATIENCE, Program, command, folder_of};

fn pipeline(control: &str, body: &str) -> String {
    format!(
        "{{\n  \"listen\": \"127.0.0.1:0\",\n  \"server\": {{ \"control\": \"{control}\" }},\n  \"layers\": [\"request_id\"],\n  \
         \"app\": {{ \"respond\": {{ \"status\": 200, \"body\": \"{body}\" }} }}\n}}\n"
    )
}

fn ziggurat(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(folder).args(arguments).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn rewrite(program: &Program, pipeline: &str) {
    std::fs::write(program.folder().join("pipeline.json"), pipeline).unwrap();
}

fn ask(program: &Program, line: &str) -> String {
    let mut stream = UnixStream::connect(program.folder().join("control.sock")).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn status_tells_what_runs_for_people_and_as_json() {
    let mut program = Program::start(&pipeline("control.sock", "hello"), &[]);
    program.get("/");
    let (code, json, _) = ziggurat(program.folder(), &["status", "--json"]);
    assert_eq!(code, 0);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&status["pid"], &status["generation"], &status["requests"]), (&program.pid().into(), &1.into(), &1.into()));
    assert_eq!(status["listening"], serde_json::json!([format!("http://{}", program.address())]));
    assert_eq!((&status["file"], &status["stack"]), (&"pipeline.json".into(), &"request_id > respond".into()));
    assert_eq!(status["state"], "serving");
    assert!(status["uptime_s"].is_u64() && status["loaded_at"].is_string() && status["apps"].is_array(), "{json}");

    let (code, table, _) = ziggurat(program.folder(), &["status"]);
    assert_eq!(code, 0);
    for part in
        ["request_id > respond", "generation 1", "in progress 0", "2xx 1", "open 0, accepted 1", &format!("process {}", program.pid())]
    {
        assert!(table.contains(part), "{part}: {table}");
    }

    let socket = program.folder().join("control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    assert!(!socket.exists());
    let (code, _, error) = ziggurat(program.folder(), &["status"]);
    assert_eq!(code, 1);
    assert!(error.contains("no server answers at `control.sock`") && error.contains("hint:"), "{error}");
}

#[test]
fn reload_waits_for_the_outcome_and_prints_what_is_wrong() {
    let program = Program::start(&pipeline("control.sock", "one"), &[]);
    rewrite(&program, &pipeline("control.sock", "two"));
    let (code, said, _) = ziggurat(program.folder(), &["reload"]);
    assert_eq!(code, 0);
    assert!(said.starts_with("reloaded ") && said.contains("pipeline.json after ") && said.contains("request_id > respond"), "{said}");
    assert!(program.get("/").ends_with("two"));

    rewrite(&program, &pipeline("control.sock", "three").replace("request_id", "request_di"));
    let (code, _, report) = ziggurat(program.folder(), &["reload", "pipeline.json"]);
    assert_eq!(code, 1);
    assert!(report.contains("pipeline.json:4:14") && report.contains("^^^^^^^^^^^^") && report.contains("`request_id`"), "{report}");
    assert!(program.get("/").ends_with("two"));
    assert_eq!(ziggurat(program.folder(), &["status", "--json"]).1.matches("\"generation\": 2").count(), 1);

    let answer = ask(&program, "POST /reload");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 422 "), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["reloaded"], &body["findings"][0]["line"]), (&false.into(), &4.into()));
}

#[test]
fn without_a_control_socket_the_command_says_how_to_name_one() {
    let folder = folder_of(&[("pipeline.json", r#"{ "app": { "respond": 204 } }"#)]);
    for command in ["status", "reload"] {
        let (code, _, error) = ziggurat(folder.path(), &[command]);
        assert_eq!(code, 2);
        assert!(error.contains("names no control socket") && error.contains("SIGHUP"), "{error}");
    }
}

#[test]
fn the_socket_stays_through_reloads_and_moves_with_the_file() {
    let program = Program::start(&pipeline("control.sock", "one"), &[]);
    let socket = |name: &str| program.folder().join(name);
    rewrite(&program, &pipeline("control.sock", "two"));
    let kept = UnixStream::connect(socket("control.sock")).unwrap();
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 0);
    assert!(ask(&program, "GET /status").contains("\"generation\": 2"));
    drop(kept);

    // The answer still comes where it was asked for.
    rewrite(&program, &pipeline("moved.sock", "three"));
    assert!(ask(&program, "POST /reload").starts_with("HTTP/1.1 200 "));
    assert!(socket("moved.sock").exists());
    assert!(ziggurat(program.folder(), &["status"]).1.contains("generation 3"));
    while socket("control.sock").exists() {
        std::thread::yield_now();
    }
    rewrite(&program, r#"{ "listen": "127.0.0.1:0", "app": { "respond": 204 } }"#);
    program.signal("HUP");
    while socket("moved.sock").exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_socket_of_a_dead_process_is_replaced_and_one_of_a_living_is_not() {
    let folder = folder_of(&[("pipeline.json", &pipeline("control.sock", "one"))]);
    drop(UnixListener::bind(folder.path().join("control.sock")).unwrap());
    let mut run = command(folder.path());
    run.arg("run");
    let program = Program::spawn(run, folder);
    let (code, _, error) = ziggurat(program.folder(), &["run"]);
    assert_eq!(code, 1);
    assert!(error.contains("pipeline.json:3:26") && error.contains("another process listens there"), "{error}");
    assert_eq!(ziggurat(program.folder(), &["status"]).0, 0);
}

#[test]
fn status_is_available_while_the_server_drains() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "server": { "control": "control.sock" },
             "app": { "wsgi": { "app": "slow:app", "workers": 0, "threads": 1 } } }"#,
        &[SLOW],
    );
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    program.signal("TERM");
    program.wait_for_log("stopping");
    while !ask(&program, "GET /status").contains("\"state\": \"stopping\"") {
        std::thread::yield_now();
    }
    let table = ziggurat(program.folder(), &["status"]).1;
    assert!(table.contains("stopping") && table.contains("slow:app") && table.contains("begun 1"), "{table}");
    let refused = ask(&program, "POST /reload");
    assert!(refused.starts_with("HTTP/1.1 422 ") && refused.contains("the server is stopping"), "{refused}");
    program.signal("USR2");
    program.wait_for_log("where the threads of every app are");
    std::fs::write(program.folder().join("go"), "").unwrap();
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert!(!program.folder().join("control.sock").exists());
}

#[test]
fn logs_are_reopened_and_other_questions_refused() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "server": { "control": "control.sock" }, "layers": [{ "access_log": { "to": "access.log" } }],
             "app": { "respond": 204 } }"#,
        &[],
    );
    let log = program.folder().join("access.log");
    std::fs::remove_file(&log).unwrap();
    assert!(ask(&program, "POST /reopen").starts_with("HTTP/1.1 200 "));
    while !log.exists() {
        std::thread::yield_now();
    }
    let refused = ask(&program, "GET /reload");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.to_lowercase().contains("allow: post"), "{refused}");
    assert!(ask(&program, "GET /").starts_with("HTTP/1.1 404 "));
}

#[test]
fn the_metrics_app_shows_the_figures_of_the_program() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "app": { "routes": [
            { "match": { "path": "/metrics" }, "app": { "metrics": {} } }, { "app": { "respond": 204 } }
        ] } }"#,
        &[],
    );
    program.get("/");
    let answer = program.get("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    for line in [
        concat!("ziggurat_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        "# TYPE ziggurat_requests_total counter\nziggurat_requests_total 2\n",
        "ziggurat_reloads_total{outcome=\"done\"} 0\n",
    ] {
        assert!(answer.contains(line), "{line}{answer}");
    }
    // A client sees the end of its connection before the server has put it away.
    let until = Instant::now() + PATIENCE;
    let shows = |line: &str| {
        while !program.get("/metrics").contains(line) {
            assert!(Instant::now() < until, "waited in vain for {line}");
        }
    };
    shows("ziggurat_connections 1\n");
    shows("ziggurat_tunnels 0\n");
    // The scrape itself is under way.
    shows("ziggurat_http_requests_in_progress 1\n");
    shows("ziggurat_http_requests_total{place=\"default/respond\",status=\"2xx\"} 1\n");
    shows("ziggurat_http_request_duration_seconds_count{place=\"default/respond\"} 1\n");
    program.signal("HUP");
    shows("ziggurat_reloads_total{outcome=\"done\"} 1\n");
    assert!(program.exchange("POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405 "));
}

#[test]
fn a_refused_reload_is_told_until_one_takes_effect() {
    let site = |app: &str| {
        format!(
            "{{\n  \"listen\": \"127.0.0.1:0\",\n  \"server\": {{ \"control\": \"control.sock\" }},\n  \"app\": {{ \"routes\": [\n    \
             {{ \"match\": {{ \"path\": \"/metrics\" }}, \"app\": {{ \"metrics\": {{}} }} }},\n    {app}\n  ] }}\n}}\n"
        )
    };
    let program = Program::start(&site(r#"{ "app": { "respond": 200 } }"#), &[]);
    let status = || ziggurat(program.folder(), &["status"]).1;
    assert!(!status().contains("refused 2"));
    assert!(program.get("/metrics").contains("ziggurat_last_reload_successful 1\n"));

    rewrite(&program, &site(r#"{ "app": { "static": "/nowhere/to/be/found" } }"#));
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 1);
    let told = status();
    assert!(
        told.contains("reload       refused 20") && told.contains("Z: pipeline.json:6:") && told.contains("/nowhere/to/be/found"),
        "{told}"
    );
    let json: Value = serde_json::from_str(&ziggurat(program.folder(), &["status", "--json"]).1).unwrap();
    assert_eq!(json["refused_reload"]["findings"], 1);
    assert!(program.get("/metrics").contains("ziggurat_last_reload_successful 0\n"));

    rewrite(&program, &site(r#"{ "app": { "respond": 204 } }"#));
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 0);
    assert!(!status().contains("refused 2"));
    assert!(program.get("/metrics").contains("ziggurat_last_reload_successful 1\n"));
}

#[test]
fn only_the_file_that_the_server_runs_is_reloaded() {
    let program = Program::start(&pipeline("control.sock", "one"), &[("other.json", &pipeline("control.sock", "other"))]);
    let (code, _, error) = ziggurat(program.folder(), &["reload", "other.json"]);
    assert_eq!(code, 1);
    assert!(error.contains("pipeline.json` and not `") && error.contains("/other.json`"), "{error}");
    assert!(ask(&program, "GET /status").contains("\"generation\": 1"));
    // The same file by another name.
    std::os::unix::fs::symlink("pipeline.json", program.folder().join("link.json")).unwrap();
    let (code, said, error) = ziggurat(program.folder(), &["reload", "link.json"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("/pipeline.json after "), "{said}");
}
