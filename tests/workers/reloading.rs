//! A reload brings new workers up before the old ones go.

use std::collections::HashSet;
use std::fs;

use crate::site::{SITE, ask, pid, processes_below, start, wait_until};
use crate::support::Program;

#[test]
fn ten_reloads_under_load_lose_no_request_and_leave_no_worker() {
    let mut program = start(r#""workers": 2, "threads": 2"#);
    let address = program.address();
    let mut pids = HashSet::from([pid(&program)]);
    for _ in 0..10 {
        let before = processes_below(program.pid());
        std::thread::scope(|scope| {
            let client = move || (0..20).map(|_| ask(address, "/pid")).collect::<Vec<_>>();
            let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
            program.signal("HUP");
            for (status, body) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
                assert_eq!(status, 200, "{body}\n{}", program.log());
            }
        });
        wait_until("the old workers have ended and the new ones serve", &program, || {
            let now = processes_below(program.pid());
            now.len() == 2 && now.iter().all(|(worker, _)| before.iter().all(|(old, _)| old != worker))
        });
        pids.insert(pid(&program));
    }
    assert_eq!(pids.len(), 11);
    program.signal("TERM");
    assert!(program.wait().success());
}

#[test]
fn an_app_that_does_not_import_leaves_the_old_workers_as_they_are() {
    let mut program = start(r#""workers": 2"#);
    let worker = pid(&program);
    let source = program.folder().join("site_under_test.py");
    fs::write(&source, "raise ValueError('no such luck')\n").unwrap();
    program.signal("HUP");
    program.wait_for_log("ValueError: no such luck");
    wait_until("nobody else is there", &program, || processes_below(program.pid()).len() == 2);
    assert_eq!(pid(&program), worker);
    fs::write(&source, SITE).unwrap();
    program.signal("HUP");
    wait_until("new workers serve", &program, || pid(&program) != worker);
}

#[test]
fn workers_of_a_reload_that_fails_elsewhere_are_ended() {
    let mut program = start(r#""workers": 2"#);
    let worker = pid(&program);
    let two = r#"{ "listen": "127.0.0.1:0", "app": { "routes": [
        { "match": { "path": "/a" }, "app": { "wsgi": { "app": "site_under_test:app", "workers": 2 } } },
        { "app": { "wsgi": "nowhere_to_be_found:app" } }
    ] } }"#;
    fs::write(program.folder().join("pipeline.json"), two).unwrap();
    program.signal("HUP");
    program.wait_for_log("there is no module `nowhere_to_be_found`");
    wait_until("only the old workers are there", &program, || processes_below(program.pid()).len() == 2);
    assert_eq!(pid(&program), worker);
}

#[test]
fn a_later_reload_supersedes_one_whose_import_never_ends() {
    let mut program = start(r#""workers": 2"#);
    let worker = pid(&program);
    let source = program.folder().join("site_under_test.py");
    fs::write(&source, "import time\nopen('imports', 'w').close()\ntime.sleep(1000)\n").unwrap();
    program.signal("HUP");
    wait_until("the import that never ends has begun", &program, || program.folder().join("imports").exists());
    fs::write(&source, SITE).unwrap();
    program.signal("HUP");
    program.wait_for_log("given up for a later one");
    program.wait_for_log("reloaded after");
    wait_until("only the new workers are there", &program, || processes_below(program.pid()).len() == 2);
    assert_ne!(pid(&program), worker);
    assert!(!program.log().contains("not reloaded"), "{}", program.log());
}

#[test]
fn a_reload_whose_import_never_ends_is_refused_after_start_timeout() {
    let mut program = start(r#""workers": 1, "start_timeout": "5s""#);
    let worker = pid(&program);
    fs::write(program.folder().join("site_under_test.py"), "import time\ntime.sleep(1000)\n").unwrap();
    program.signal("HUP");
    program.wait_for_log("was not imported within 5 s");
    wait_until("only the old worker is there", &program, || processes_below(program.pid()).len() == 1);
    assert_eq!(pid(&program), worker);
}

/// An app that holds a lock from its import on, as embedded databases do.
const LOCKING: &str = "
import fcntl, os
LOCK = open('lock', 'w')
fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
def app(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";

fn start_locking(options: &str) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "locking:app", "workers": 1, "replace": "old_first"{options} }} }} }}"#
    );
    Program::start(&pipeline, &[("locking.py", LOCKING)])
}

#[test]
fn an_app_with_an_exclusive_lock_is_reloaded_and_no_request_is_lost() {
    for options in ["", r#", "preload": true"#, r#", "queue": { "limit": 100, "wait": "20s" }"#] {
        let mut program = start_locking(options);
        let address = program.address();
        for nth in 1..=3 {
            let before = pid(&program);
            std::thread::scope(|scope| {
                let client = move || (0..20).map(|_| ask(address, "/")).collect::<Vec<_>>();
                let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
                program.signal("HUP");
                for (status, body) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
                    assert_eq!(status, 200, "{options}: {body}\n{}", program.log());
                }
            });
            wait_until("it is reloaded", &program, || program.log().matches("reloaded after").count() == nth);
            assert_ne!(pid(&program), before);
        }
        program.signal("TERM");
        assert!(program.wait().success(), "{}", program.log());
    }
}

#[test]
fn an_app_with_an_exclusive_lock_is_recycled() {
    let program = start_locking(r#", "recycle": { "requests": 5, "jitter": 0 }"#);
    let mut pids = HashSet::new();
    wait_until("three workers have served", &program, || {
        pids.insert(pid(&program));
        pids.len() == 3
    });
    assert!(!program.log().contains("ERROR"), "{}", program.log());
}

#[test]
fn an_app_that_ended_first_is_started_again_if_the_new_one_cannot_be() {
    let mut program = start_locking("");
    let before = pid(&program);
    // The code before is what is started again; here it is broken for the reload alone.
    fs::write(
        program.folder().join("locking.py"),
        format!("import os\nif os.path.exists('broken'): os.remove('broken'); raise ValueError('no such luck')\n{LOCKING}"),
    )
    .unwrap();
    fs::write(program.folder().join("broken"), "").unwrap();
    program.signal("HUP");
    program.wait_for_log("not reloaded");
    let after = pid(&program);
    assert_ne!(after, before);
    assert_eq!(pid(&program), after);
}
