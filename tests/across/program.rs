//! Stacks of Python and native layers as the program runs them: imported once and forked, exchanged at a reload, refused at their line.

use crate::program_support::{Program, command, folder_of};
use crate::support::wait_until;

const MODULE: &str = r#"
import os, threading
IMPORTED_BY = os.getpid()

class Outer:
    def __init__(self, app, name):
        self.app, self.name, self.made_by = app, name, os.getpid()
    def __call__(self, environ, start_response):
        def start(status, headers, *more):
            return start_response(status, headers + [('X-' + self.name, str(self.made_by))], *more)
        return self.app(environ, start)

def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    yield b'hello'
"#;

fn pipeline(options: &str) -> String {
    format!(
        r#"{{ "listen": "127.0.0.1:0",
  "layers": ["request_id", {{ "wsgi": {{ "middleware": "mixed:Outer", "args": ["One"] }} }}, "compress",
    {{ "access_log": {{ "to": "inner.log" }} }}, {{ "timeout": "30s" }}, {{ "wsgi": {{ "middleware": "mixed:Outer", "args": ["Two"] }} }}],
  "app": {{ "wsgi": {{ "app": "mixed:app", {options} }} }} }}"#
    )
}

fn hello(program: &Program) {
    let answer = program.get("/");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhello"), "{answer}\n{}", program.log());
    assert!(answer.contains("x-one: ") && answer.contains("x-two: "), "{answer}");
}

#[test]
fn a_mixed_stack_is_imported_warmed_up_and_forked() {
    let mut program =
        Program::start(&pipeline(r#""workers": 2, "threads": 2, "preload": { "warm_up": ["/", "/a"] }"#), &[("mixed.py", MODULE)]);
    for _ in 0..20 {
        hello(&program);
    }
    let log = program.folder().join("inner.log");
    wait_until("the layers inside have logged all", || std::fs::read_to_string(&log).unwrap().lines().count() == 22);
    assert!(!program.log().contains("panicked") && !program.log().contains("WARN"), "{}", program.log());
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.log());
}

#[test]
fn a_mixed_stack_is_exchanged_at_a_reload_and_no_request_is_lost() {
    for options in [r#""workers": 2, "threads": 1"#, r#""workers": 2, "preload": true"#, r#""workers": 0, "threads": 2"#] {
        let mut program = Program::start(&pipeline(options), &[("mixed.py", MODULE)]);
        for round in 1..=3 {
            program.signal("HUP");
            let reloaded = || program.log().matches("reloaded").count();
            while reloaded() < round {
                hello(&program);
            }
        }
        hello(&program);
        assert!(!program.log().contains("panicked"), "{options}: {}", program.log());
        program.signal("TERM");
        assert!(program.wait().success(), "{options}: {}", program.log());
    }
}

#[test]
fn a_layer_that_cannot_be_made_in_a_worker_is_shown_at_its_line() {
    let source = format!(
        "{MODULE}\nclass Broken:\n    def __init__(self, app):\n        raise ValueError('no such luck')\nNOTHING = 7\ndef none(app):\n    pass\n"
    );
    for (target, said) in [
        ("mixed:Broken", "`Broken` of `mixed` raised `ValueError` when it was called"),
        ("nowhere:Layer", "there is no module `nowhere`"),
        ("mixed:Missing", "module `mixed` has no attribute `Missing`"),
        ("mixed:NOTHING", "`NOTHING` of `mixed`"),
        ("mixed:none", "`none` of `mixed` returned `NoneType`, which is not callable"),
    ] {
        for workers in [r#""workers": 2"#, r#""workers": 1, "preload": true"#] {
            let text = format!(
                "{{\n  \"layers\": [\n    {{ \"wsgi\": {{ \"middleware\": \"mixed:Outer\", \"args\": [\"A\"] }} }},\n    \"headers\",\n    {{ \"wsgi\": \"{target}\" }}\n  ],\n  \"app\": {{ \"wsgi\": {{ \"app\": \"mixed:app\", {workers} }} }}\n}}\n"
            );
            let folder = folder_of(&[("pipeline.json", &text), ("mixed.py", &source)]);
            let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
            let seen = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{seen}");
            assert!(seen.contains(said) && seen.contains("pipeline.json:5:") && seen.contains("^^^^"), "{target}: {seen}");
            if target == "mixed:Broken" {
                assert!(seen.contains("no such luck"), "{seen}");
            }
        }
    }
}
