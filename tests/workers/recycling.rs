//! Workers are replaced though they are alive, and no request is lost.

use std::collections::HashSet;
use std::io::{Read, Write};

use crate::site::{SITE, ask, get, is_alive, kill, pid, processes_below, start, wait_until};
use crate::support::Program;

#[test]
fn workers_are_replaced_after_their_requests_and_none_fails() {
    let program = start(r#""workers": 2, "threads": 2, "recycle": { "requests": 20, "jitter": 5 }"#);
    let address = program.address();
    let mut pids = HashSet::new();
    wait_until("four workers have served", &program, || {
        let served: Vec<(u16, String)> = std::thread::scope(|scope| {
            let client = move || (0..25).map(|_| ask(address, "/pid")).collect::<Vec<_>>();
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        for (status, pid) in served {
            assert_eq!(status, 200, "{pid}\n{}", program.log());
            pids.insert(pid);
        }
        pids.len() >= 4
    });
    wait_until("those that were replaced have ended", &program, || processes_below(program.pid()).len() == 2);
    assert!(program.log().contains("the worker is replaced (recycle: requests)"), "{}", program.log());
}

#[test]
fn a_worker_that_outgrows_its_memory_is_replaced() {
    let mut program = start(r#""workers": 1, "recycle": { "memory": "200MiB" }"#);
    let worker = pid(&program);
    assert_eq!(get(&program, "/grow").0, 200);
    program.wait_for_log("the worker is replaced (recycle: memory)");
    wait_until("another one serves", &program, || pid(&program) != worker);
    wait_until("the large one has ended", &program, || !is_alive(worker));
}

#[test]
fn a_worker_that_is_old_is_replaced() {
    let mut program = start(r#""workers": 1, "recycle": { "age": "1s" }"#);
    let worker = pid(&program);
    program.wait_for_log("the worker is replaced (recycle: age)");
    wait_until("another one serves", &program, || pid(&program) != worker);
}

#[test]
fn a_worker_that_is_replaced_ends_within_the_drain_whatever_its_streams_do() {
    let app = r#"{ "wsgi": { "app": "site_under_test:app", "workers": 1, "threads": 2, "recycle": { "requests": 2, "jitter": 0 } } }"#;
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "500ms" }}, "app": {app} }}"#);
    let program = Program::start(&pipeline, &[("site_under_test.py", SITE)]);
    let mut stream = program.connect();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    let worker = pid(&program);
    wait_until("it has ended", &program, || !is_alive(worker));
    // The client sees that its answer was broken off.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"));
    assert_ne!(pid(&program), worker);
}

#[test]
fn a_call_that_will_not_end_is_answered_504_and_its_worker_replaced() {
    let mut program = start(r#""workers": 1, "threads": 2, "deadline": "500ms""#);
    let worker = pid(&program);
    assert_eq!(get(&program, "/stuck").0, 504);
    program.wait_for_log("the worker is replaced (deadline)");
    wait_until("another one serves", &program, || get(&program, "/pid") != (200, worker.to_string()));
    program.signal("TERM");
    assert!(program.wait().success());
    assert!(!is_alive(worker), "{}", program.log());
}

#[test]
fn a_living_worker_is_told_of_each_worker_that_has_ended() {
    let app = "
import os
def ended(pid, cause):
    if cause == 'stopped': raise ValueError('the hook fails')
    with open('ended', 'a') as out: out.write(f'{pid} in {os.getpid()}: {cause}\\n')
def app(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";
    for options in [r#""workers": 2"#, r#""workers": 1"#, r#""workers": 2, "preload": true"#] {
        let options = format!(
            r#"{{ "app": "hooked:app", {options}, "threads": 1, "worker_exit": "hooked:ended", "recycle": {{ "requests": 3, "jitter": 0 }} }}"#
        );
        let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {options} }} }}"#);
        let mut program = Program::start(&pipeline, &[("hooked.py", app)]);
        let told = |program: &Program| std::fs::read_to_string(program.folder().join("ended")).unwrap_or_default();
        let first = pid(&program);
        kill("KILL", first);
        wait_until("the hook is called", &program, || told(&program).contains(&format!("{first} in ")));
        assert!(told(&program).contains("was killed (SIGKILL)") && !told(&program).contains(&format!("in {first}:")), "{}", told(&program));
        wait_until("a worker is recycled", &program, || {
            pid(&program);
            told(&program).contains("recycle: requests")
        });
        // Those of a replaced stack end in the sight of the new one.
        program.signal("HUP");
        program.wait_for_log("ValueError: the hook fails");
    }
}
