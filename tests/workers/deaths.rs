//! Workers die: that costs the requests inside them, and nothing else.

use std::fs;
use std::io::{Read, Write};

use crate::site::{ask, get, kill, pid, processes_below, start, wait_until};

#[test]
fn a_worker_killed_under_way_costs_the_requests_inside_it() {
    let mut program = start(r#""workers": 1, "threads": 2"#);
    let worker = pid(&program);
    let mut inside = program.connect();
    inside.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());
    kill("KILL", worker);
    let mut answer = String::new();
    inside.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_ne!(pid(&program), worker);
    let line = program.wait_for_log("was killed (SIGKILL), possibly because memory ran out");
    assert!(line.contains(&format!("app=wsgi worker=1 pid={worker} ")), "{line}");
}

#[test]
fn requests_behind_a_call_that_kills_its_worker_are_served_by_the_next_one() {
    let program = start(r#""workers": 1, "threads": 1"#);
    let mut first = program.connect();
    first.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());
    let worker = processes_below(program.pid())[0].0;
    std::thread::scope(|scope| {
        let address = program.address();
        let behind: Vec<_> = (0..8).map(|_| scope.spawn(move || ask(address, "/pid"))).collect();
        kill("KILL", worker);
        for answer in behind {
            let (status, body) = answer.join().unwrap();
            assert_eq!(status, 200, "{body}\n{}", program.log());
            assert_ne!(body, worker.to_string());
        }
    });
}

#[test]
fn an_app_that_ends_its_process_is_answered_502_and_served_again() {
    let mut program = start(r#""workers": 2"#);
    for _ in 0..4 {
        assert_eq!(get(&program, "/exit").0, 502, "{}", program.log());
        pid(&program);
    }
    program.wait_for_log("the worker ended with exit code 3");
}

#[test]
fn a_crash_of_the_interpreter_is_told_with_its_signal() {
    let mut program = start(r#""workers": 2"#);
    assert_eq!(get(&program, "/crash").0, 502, "{}", program.log());
    pid(&program);
    program.wait_for_log("the worker was ended by SIGSEGV");
}

#[test]
fn a_worker_that_is_told_to_crash_does() {
    let mut program = start(r#""workers": 1"#);
    let worker = pid(&program);
    kill("SEGV", worker);
    program.wait_for_log("the worker was ended by SIGSEGV");
    assert_ne!(pid(&program), worker);
}

#[test]
fn all_workers_killed_at_once_are_back_by_themselves() {
    let mut program = start(r#""workers": 3"#);
    let workers = processes_below(program.pid());
    for (worker, _) in &workers {
        kill("KILL", *worker);
    }
    for (worker, _) in &workers {
        program.wait_for_log(&format!("pid={worker} the worker was killed"));
    }
    let served = pid(&program);
    assert!(workers.iter().all(|(worker, _)| *worker != served));
    wait_until("three workers are there again", &program, || {
        let now = processes_below(program.pid());
        now.len() == 3 && now.iter().all(|(worker, _)| workers.iter().all(|(old, _)| old != worker))
    });
}

#[test]
fn an_app_that_imports_no_longer_is_tried_again_until_it_does() {
    let mut program = start(r#""workers": 1"#);
    let worker = pid(&program);
    let source = program.folder().join("site_under_test.py");
    let good = fs::read_to_string(&source).unwrap();
    fs::write(&source, "raise ValueError('no such luck')\n").unwrap();
    kill("KILL", worker);
    program.wait_for_log("the worker cannot be started again: module `site_under_test` cannot be imported: it raised `ValueError`");
    program.wait_for_log("ValueError: no such luck");
    fs::write(&source, good).unwrap();
    // It waits for its worker, however long that takes.
    assert_ne!(pid(&program), worker);
}
