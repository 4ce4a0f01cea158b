//! The layer `wsgi_lint`: what an app and a Python middleware do wrong is found in their worker, and the one at fault is named.

use crate::django::{get, site_with};
use crate::support::{Program, command};

const LINTED: &str = r#"{ "listen": "127.0.0.1:0",
    "layers": [{ "wsgi_lint": { "mode": "MODE" } }, { "wsgi": "outer:Layer" }BETWEEN],
    "app": "main",
    "apps": { "main": { "wsgi": { "app": "site_:app", "workers": 1, "threads": 1 } } } }"#;

const APP: &str = "class Closed:\n\
    \x20   def __iter__(self): return iter([b'text'])\n\
    \x20   def close(self): pass\n\
    def app(environ, start):\n\
    \x20   case = environ['PATH_INFO']\n\
    \x20   if case == '/headers': start('200 OK', [('Connection', 'close')]); return [b'text']\n\
    \x20   if case == '/status': start('200', []); return [b'text']\n\
    \x20   if case == '/bodiless': start('204 No Content', []); return [b'text']\n\
    \x20   if case == '/content_length': start('200 OK', [('Content-Length', '2')]); return [b'text']\n\
    \x20   if case == '/write': start('200 OK', [])(b'text'); return []\n\
    \x20   if case == '/start_response': return []\n\
    \x20   if case == '/body': start('200 OK', []); return ['text']\n\
    \x20   if case == '/input': [environ['wsgi.input'].read(10) for _ in range(3)]\n\
    \x20   start('200 OK', [('Content-Type', 'text/plain')])\n\
    \x20   return Closed()\n";

const LAYER: &str = "class Layer:\n\
    \x20   def __init__(self, app): self.app = app\n\
    \x20   def __call__(self, environ, start):\n\
    \x20       if environ['PATH_INFO'] == '/environ': environ['HTTP_X_USER'] = 7\n\
    \x20       if environ['PATH_INFO'] == '/close': return [b''.join(self.app(environ, start))]\n\
    \x20       return self.app(environ, start)\n";

const PASS_ON: &str = r#", { "wsgi": "outer:pass_on" }"#;

const FILES: &[(&str, &str)] = &[("site_.py", APP), ("outer.py", LAYER)];

fn linted(mode: &str, between: &str) -> Program {
    Program::start(&LINTED.replace("MODE", mode).replace("BETWEEN", between), FILES)
}

const OF_APP: [&str; 8] = ["headers", "status", "bodiless", "content_length", "write", "start_response", "body", "input"];
const OF_LAYER: [&str; 2] = ["environ", "close"];

/// Breaks every rule, and waits for the line of each.
fn finds_all(program: &mut Program) {
    for rule in OF_APP.into_iter().chain(OF_LAYER) {
        program.get(&format!("/{rule}"));
    }
    for rule in OF_APP {
        program.wait_for_log(&format!("`site_:app` at `main` breaks PEP 3333 ({rule}): "));
    }
    for rule in OF_LAYER {
        program.wait_for_log(&format!("`outer:Layer` at `wsgi` breaks PEP 3333 ({rule}): "));
    }
}

#[test]
fn the_callable_that_breaks_a_rule_is_named_in_the_log_once() {
    let mut program = linted("warn", "");
    program.get("/fine");
    assert!(!program.log().contains("PEP 3333"), "{}", program.log());
    for _ in 0..2 {
        finds_all(&mut program);
    }
    let line = program.log().lines().find(|line| line.contains("(headers)")).unwrap().to_owned();
    assert!(line.contains("WARN") && line.contains("GET /headers") && line.contains("seen the first time"), "{line}");
    // A layer that passes on what the app says is not at fault.
    for rule in ["headers", "status", "bodiless", "content_length", "body", "write"] {
        assert_eq!(program.log().matches(&format!("({rule})")).count(), 1, "{rule}: {}", program.log());
    }
}

#[test]
fn a_body_of_a_response_to_head_is_logged_and_never_raised() {
    let mut program = linted("error", "");
    for _ in 0..2 {
        let answer = program.exchange("HEAD /fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    program.wait_for_log("`site_:app` at `main` breaks PEP 3333 (head): its response to HEAD has a body");
    assert_eq!(program.log().matches("PEP 3333").count(), 1, "{}", program.log());
}

#[test]
fn a_stack_that_is_timed_has_the_same_findings() {
    let app = "def app(environ, start):\n\
        \x20   start('200 OK', [('Content-Type', 'text/plain')])\n\
        \x20   return iter([b'text'])\n";
    let layer = "def join(app): return lambda environ, start: [b''.join(app(environ, start))]\n\
        def pass_on(app): return lambda environ, start: app(environ, start)\n";
    for (timing, layers) in [("false", ""), ("true", ""), ("false", PASS_ON), ("true", PASS_ON)] {
        let pipeline = format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "timing": {timing} }},
                "layers": ["wsgi_lint", {{ "wsgi": "outer:join" }}{layers}],
                "app": {{ "wsgi": {{ "app": "site_:app", "workers": 1 }} }} }}"#
        );
        // What has no `close()` need not be closed.
        let program = Program::start(&pipeline, &[("site_.py", app), ("outer.py", layer)]);
        assert!(program.get("/").ends_with("text"), "{timing} {layers}");
        assert!(!program.log().contains("PEP 3333"), "{timing} {layers}: {}", program.log());
    }
    let pipeline = LINTED.replace("MODE", "warn").replace("BETWEEN", "").replacen('{', r#"{ "server": { "timing": true },"#, 1);
    let mut program = Program::start(&pipeline, FILES);
    finds_all(&mut program);
    assert_eq!(program.log().matches("PEP 3333").count(), OF_APP.len() + OF_LAYER.len(), "{}", program.log());
}

#[test]
fn the_mode_error_answers_500_and_warn_what_the_app_said() {
    for (mode, status) in [("warn", "200"), ("error", "500")] {
        let program = linted(mode, "");
        for path in ["/headers", "/write", "/environ"] {
            let answer = program.get(path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{mode} {path}: {answer}");
        }
        assert!(program.get("/fine").starts_with("HTTP/1.1 200"), "{mode}");
    }
}

#[test]
fn what_a_native_layer_passes_on_is_checked_on_both_sides() {
    let mut program = linted("warn", r#", "compress""#);
    program.get("/fine");
    assert!(!program.log().contains("PEP 3333"), "{}", program.log());
    program.get("/headers");
    program.wait_for_log("`site_:app` at `main` breaks PEP 3333 (headers): ");
}

#[test]
fn an_app_without_python_layers_is_checked_and_requests_without_the_layer_are_not() {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "routes": [
        { "mount": "/on", "layers": [{ "wsgi_lint": { "sample": 0.5 } }], "app": "site" },
        { "app": "site" } ] },
        "apps": { "site": { "wsgi": { "app": "site_:app", "workers": 1 } } } }"#;
    let mut program = Program::start(pipeline, FILES);
    program.get("/headers");
    program.get("/on/fine");
    program.get("/on/headers");
    assert!(!program.log().contains("PEP 3333"), "{}", program.log());
    program.get("/on/headers");
    program.wait_for_log("`site_:app` at `site` breaks PEP 3333 (headers): ");
}

#[test]
fn a_page_of_django_has_no_findings() {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "layers": [{ "wsgi_lint": "error" }], "app": { "wsgi": { "app": "mysite.wsgi", "workers": 1, "env": { "DJANGO_SETTINGS_MODULE": "mysite.settings" } } } }"#;
    let folder = site_with(pipeline, &[]);
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]);
    let program = Program::spawn(command, folder);
    let answer = get(&program, "/", "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("mysite.settings"), "{answer}");
    assert!(get(&program, "/missing", "").starts_with("HTTP/1.1 404"));
    assert!(!program.log().contains("PEP 3333"), "{}", program.log());
}
