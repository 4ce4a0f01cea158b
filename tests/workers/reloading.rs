//! A reload brings new workers up before the old ones go.

use std::collections::HashSet;
use std::fs;

use crate::site::{SITE, ask, pid, processes_below, start, wait_until};

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
