//! The life of the process: start, what it prints, signals, drain, exit codes.

use std::io::{Read, Write};

use crate::slow::SLOW;
use crate::support::{Program, command, folder_of};

const HELLO: &str = r#"{ "listen": "127.0.0.1:0", "app": { "respond": { "status": 200, "body": "hello" } } }"#;

#[test]
fn it_says_what_listens_where_and_which_stack_serves_it() {
    let program = Program::start(
        r#"{ "listen": ["127.0.0.1:0", "unix:site.sock"], "layers": ["request_id", "security_headers"], "app": { "respond": 204 } }"#,
        &[],
    );
    let log = program.log();
    assert!(log.contains("listening on http://127.0.0.1:"), "{log}");
    assert!(log.contains("site.sock"), "{log}");
    assert!(log.contains("request_id"), "{log}");
    assert!(log.contains("respond"), "{log}");
    assert!(program.get("/").starts_with("HTTP/1.1 204"), "{log}");
}

#[test]
fn a_request_in_flight_is_finished_after_sigterm_and_the_exit_code_is_0() {
    let mut program = Program::start(r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "slow:app", "threads": 2 } } }"#, &[SLOW]);
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    program.signal("TERM");
    program.wait_for_log("stopping");
    std::fs::write(program.folder().join("go"), "").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "stuck:app", "threads": 1 } } }"#,
        &[("stuck.py", "import time\ndef app(e, s):\n    open('started', 'w').close()\n    while True: time.sleep(0.01)\n")],
    );
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    program.signal("INT");
    program.wait_for_log("stopping");
    program.signal("INT");
    assert_ne!(program.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let mut program = Program::start(HELLO, &[]);
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut first = [0; 8];
    stream.read_exact(&mut first).unwrap();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn the_access_log_goes_to_its_file_and_is_opened_again_at_sigusr1() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "access_log": { "to": "access.log", "format": "json" } }], "app": { "respond": 204 } }"#,
        &[],
    );
    let log = program.folder().join("access.log");
    let old = program.folder().join("access.log.1");
    let holds = |path: &std::path::Path, text: &str| std::fs::read_to_string(path).is_ok_and(|log| log.contains(text));
    program.get("/one");
    while !holds(&log, "/one") {
        std::thread::yield_now();
    }
    std::fs::rename(&log, &old).unwrap();
    program.signal("USR1");
    while !log.exists() {
        std::thread::yield_now();
    }
    program.get("/two");
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    assert!(holds(&log, "/two") && !holds(&old, "/two"), "{}", program.log());
}

#[test]
fn a_port_that_is_taken_is_shown_at_its_line_and_the_exit_code_is_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let pipeline = format!("{{\n  \"listen\": \"{}\",\n  \"app\": {{ \"respond\": 204 }}\n}}\n", taken.local_addr().unwrap());
    let folder = folder_of(&[("pipeline.json", &pipeline)]);
    let output = command(folder.path()).arg("run").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("pipeline.json:2:13"), "{text}");
}

#[test]
fn an_app_without_a_file_is_served_by_its_name() {
    let folder = folder_of(&[("hello.py", "def app(e, s):\n    s('200 OK', [])\n    return [b'hello ' + e['PATH_INFO'].encode()]\n")]);
    let mut command = command(folder.path());
    command.args(["hello:app", "--listen", "127.0.0.1:0"]);
    let program = Program::spawn(command, folder);
    assert!(program.get("/you").ends_with("hello /you"), "{}", program.log());
}

#[test]
fn the_command_line_may_say_where_to_listen() {
    let folder = folder_of(&[("pipeline.json", &HELLO.replace("127.0.0.1:0", "unix:site.sock"))]);
    let mut command = command(folder.path());
    command.args(["run", "--listen", "127.0.0.1:0"]);
    let program = Program::spawn(command, folder);
    assert!(program.get("/").ends_with("hello"), "{}", program.log());
    assert!(!program.folder().join("site.sock").exists());
}

#[test]
fn an_address_of_the_command_line_is_served_as_the_file_serves_its_own() {
    let tls = r#"{ "at": "unix:tls.sock", "tls": { "cert": "tls/cert.pem", "key": "tls/key.pem" } }"#;
    for (listen, scheme) in [(tls.to_owned(), "https"), (format!(r#"[{tls}, "unix:clear.sock"]"#), "http")] {
        let folder = folder_of(&[("pipeline.json", &format!(r#"{{ "listen": {listen}, "app": {{ "respond": 204 }} }}"#))]);
        let made = command(folder.path()).args(["certs", "--self-signed"]).output().unwrap();
        assert!(made.status.success());
        for entry in std::fs::read_dir(folder.path().join("tls")).unwrap() {
            let path = entry.unwrap().path();
            let is_key = std::fs::read_to_string(&path).unwrap().contains("PRIVATE KEY");
            std::fs::rename(&path, path.with_file_name(if is_key { "key.pem" } else { "cert.pem" })).unwrap();
        }
        let mut command = command(folder.path());
        command.args(["run", "--listen", "127.0.0.1:0"]);
        let program = Program::spawn(command, folder);
        assert!(program.log().contains(&format!("listening on {scheme}://127.0.0.1:")), "{}", program.log());
        assert!(!program.folder().join("tls.sock").exists() && !program.folder().join("clear.sock").exists());
    }
}

#[test]
fn the_environment_fills_in_the_file() {
    let program = Program::start_with(
        r#"{ "listen": "${WHERE:-127.0.0.1:0}", "app": { "respond": { "status": 200, "body": "${GREETING}" } } }"#,
        &[],
        &[("GREETING", "good morning")],
    );
    assert!(program.get("/").ends_with("good morning"));
}

#[test]
fn an_exception_of_the_app_is_logged_with_its_traceback_and_the_request() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": ["request_id"], "app": { "wsgi": "boom:app" } }"#,
        &[("boom.py", "def inner(): raise ValueError('no such luck')\ndef app(environ, start_response): inner()\n")],
    );
    let answer = program.get("/shop?token=secret");
    assert!(answer.starts_with("HTTP/1.1 500") && !answer.contains("luck"), "{answer}");
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let line = program.wait_for_log("the app raised an exception");
    assert!(line.contains(&format!("request_id={id} request=GET /shop app=wsgi ")), "{line}");
    program.wait_for_log("ValueError: no such luck");
    let log = program.log();
    assert!(log.contains("Traceback (most recent call last)") && log.contains("line 1, in inner"), "{log}");
}

/// Imports take up to `start_timeout`. Whoever rotates logs or renews certificates meanwhile does not end the server.
#[test]
fn signals_that_come_during_the_start_wait_for_its_end() {
    const SITE: &str = r#"
import os, signal

def app(environ, start_response):
    start_response('200 OK', [])
    return [b'served']

if not os.path.exists('sent'):
    open('sent', 'w').close()
    server = os.getpid() if os.environ['WORKERS'] == '0' else os.getppid()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(server, number)
    if os.environ['WORKERS'] == '0':
        signal.signal(signal.SIGHUP, lambda *_: None)
"#;
    for workers in ["0", "1"] {
        let pipeline =
            format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "site_of_signals:app", "workers": {workers} }} }} }}"#);
        let mut program = Program::start_with(&pipeline, &[("site_of_signals.py", SITE)], &[("WORKERS", workers)]);
        program.wait_for_log("reloaded");
        assert!(program.get("/").ends_with("served"));
        // The module's handler does not keep the next one from the server.
        std::fs::write(program.folder().join("pipeline.json"), pipeline.replace("\"wsgi\"", "\"unknown\"")).unwrap();
        program.signal("HUP");
        program.wait_for_log("unknown");
        assert!(program.get("/").ends_with("served"));
    }
}
