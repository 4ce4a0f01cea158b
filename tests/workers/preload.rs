//! With `preload` workers are forked from a process that has imported the app.

use std::collections::HashSet;

use crate::site::{get, kill, pid, processes_below, start, wait_until};
use crate::support::{Program, command, folder_of};

const OPTIONS: &str = r#""workers": 2, "threads": 1, "preload": { "warm_up": ["/", "/about?a=1"] }"#;

/// The process that imported the app.
fn template(program: &Program) -> u32 {
    get(program, "/about").1.split('|').next().unwrap().parse().unwrap()
}

fn is_template(line: &str) -> bool {
    line.contains("ziggurat: template of wsgi (site_under_test:app)")
}

#[test]
fn workers_have_what_their_template_has_imported() {
    let program = start(OPTIONS);
    let (template, worker) = (template(&program), pid(&program));
    assert_ne!(template, worker);
    let below = processes_below(program.pid());
    assert!(below.iter().any(|(pid, line)| *pid == template && is_template(line)), "{below:?}");
    for nth in [1, 2] {
        let title = format!("ziggurat: worker {nth} of wsgi (site_under_test:app)");
        assert!(below.iter().any(|(_, line)| line.contains(&title)), "{below:?}");
    }
}

#[test]
fn a_forked_worker_that_dies_is_told_of_and_forked_anew() {
    let mut program = start(OPTIONS);
    let (origin, worker) = (template(&program), pid(&program));
    kill("KILL", worker);
    program.wait_for_log("the worker was killed (SIGKILL)");
    assert_ne!(pid(&program), worker);
    assert_eq!(get(&program, "/exit").0, 502);
    program.wait_for_log("the worker ended with exit code 3");
    pid(&program);
    assert_eq!(template(&program), origin);
}

#[test]
fn a_template_that_dies_leaves_its_workers_and_is_started_anew_for_the_next() {
    let mut program = start(r#""workers": 1, "preload": true"#);
    let (origin, worker) = (template(&program), pid(&program));
    kill("KILL", origin);
    wait_until("the template is gone", &program, || !processes_below(program.pid()).iter().any(|(_, line)| is_template(line)));
    assert_eq!(pid(&program), worker);
    kill("KILL", worker);
    program.wait_for_log(&format!("pid={worker} the worker ended"));
    assert_ne!(pid(&program), worker);
    assert_ne!(template(&program), origin);
}

#[test]
fn recycled_workers_come_from_the_same_template() {
    let program = start(r#""workers": 1, "threads": 2, "preload": true, "recycle": { "requests": 10, "jitter": 0 }"#);
    let origin = template(&program);
    let mut pids = HashSet::new();
    wait_until("the third worker serves", &program, || {
        pids.insert(pid(&program));
        pids.len() >= 3
    });
    assert_eq!(template(&program), origin);
}

#[test]
fn an_app_is_warmed_up_with_a_long_response_in_large_chunks() {
    let app = "
def app(environ, start_response):
    start_response('200 OK', [])
    return (b'x' * 200_000 for _ in range(50))
";
    let pipeline =
        r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "long:app", "workers": 1, "preload": { "warm_up": ["/", "/", "/"] } } } }"#;
    let program = Program::start(pipeline, &[("long.py", app)]);
    assert_eq!(get(&program, "/").0, 200);
}

#[test]
fn connections_that_all_workers_would_share_are_refused_with_their_names() {
    let app = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
held = []
def app(environ, start_response):
    if environ['PATH_INFO'] == '/connect':
        held.append(socket.create_connection(listener.getsockname()))
    start_response('200 OK', [])
    return [str(len(held)).encode()]
if os.path.exists('tidy'):
    os.register_at_fork(before=lambda: [held.pop().close() for _ in list(held)])
";
    let pipeline =
        r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "sharing:app", "workers": 2, "preload": { "warm_up": ["/connect"] } } } }"#;
    let folder = folder_of(&[("pipeline.json", pipeline), ("sharing.py", app)]);
    let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("all workers would share the connections") && text.contains("to 127.0.0.1:"), "{text}");
    // One that is closed before the fork, a listener and a pair harm nobody.
    let program = Program::start(pipeline, &[("sharing.py", &format!("import socket\npair = socket.socketpair()\n{app}")), ("tidy", "")]);
    assert_eq!(get(&program, "/"), (200, "0".to_owned()));
}
