//! What goes wrong while clients ask, and what that costs them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::load::under_load;
use crate::site::{ask, get, is_alive, kill, pid, processes_below, start, start_with_reserve, wait_until};
use crate::support::Program;

fn workers(program: &Program) -> Vec<u32> {
    processes_below(program.pid()).into_iter().map(|(worker, _)| worker).collect()
}

/// Waits for as many workers as before, none of which is one of these.
fn wait_for_others(program: &Program, gone: &[u32], count: usize) {
    wait_until("other workers are there", program, || {
        let now = workers(program);
        now.len() == count && !now.iter().any(|worker| gone.contains(worker))
    });
}

/// At most so many answers are 502, and all others 200.
fn assert_cost(statuses: &[u16], most: usize, program: &Program) {
    let failed: Vec<_> = statuses.iter().filter(|status| **status != 200).collect();
    assert!(failed.len() <= most && failed.iter().all(|status| **status == 502), "{failed:?} of {}\n{}", statuses.len(), program.log());
}

#[test]
fn a_worker_killed_costs_no_more_requests_than_it_has_threads() {
    let program = start(r#""workers": 2, "threads": 2"#);
    let statuses = under_load(&program, "/pid", 6, |load| {
        let victim = workers(&program)[0];
        kill("KILL", victim);
        wait_for_others(&program, &[victim], 2);
        load.wait_for(20);
    });
    assert_cost(&statuses, 2, &program);
}

#[test]
fn all_workers_killed_at_once_cost_what_was_inside_them_and_the_others_wait() {
    let program = start(r#""workers": 2, "threads": 1"#);
    let statuses = under_load(&program, "/pid", 6, |load| {
        let victims = workers(&program);
        for victim in &victims {
            kill("KILL", *victim);
        }
        wait_for_others(&program, &victims, 2);
        load.wait_for(20);
    });
    assert_cost(&statuses, 2, &program);
}

#[test]
fn a_route_that_ends_its_worker_every_time_costs_the_other_routes_nothing() {
    // With one thread there is nothing else inside a worker that ends.
    let program = start(r#""workers": 2, "threads": 1"#);
    let statuses = under_load(&program, "/pid", 4, |load| {
        for _ in 0..6 {
            assert_eq!(get(&program, "/exit").0, 502);
        }
        load.wait_for(20);
    });
    assert_cost(&statuses, 0, &program);
}

#[test]
fn reloads_while_workers_die_cost_what_was_inside_them() {
    let program = start(r#""workers": 2, "threads": 1, "preload": true"#);
    let statuses = under_load(&program, "/pid", 4, |load| {
        for _ in 0..4 {
            program.signal("HUP");
            // One of the generation that goes, or of the one that comes, or the template of either.
            let below = workers(&program);
            // It may have ended meanwhile.
            let _ = std::process::Command::new("kill").args(["-s", "KILL", &below[below.len() / 2].to_string()]).output();
            load.wait_for(20);
        }
    });
    assert_cost(&statuses, 4, &program);
    wait_until("two workers and their template are left", &program, || workers(&program).len() == 3);
}

#[test]
fn the_end_of_the_server_costs_no_request_that_came_before_it() {
    let mut program = start(r#""workers": 2, "threads": 2, "recycle": { "requests": 30 }"#);
    let statuses = under_load(&program, "/pid", 6, |_| {
        program.signal("TERM");
        wait_until("nobody listens any more", &program, || TcpStream::connect(program.address()).is_err());
    });
    assert_cost(&statuses, 0, &program);
    assert!(program.wait().success(), "{}", program.log());
}

#[test]
fn endless_streams_leave_threads_to_the_route_that_has_some_in_reserve() {
    let program = start_with_reserve(2, r#""workers": 2, "threads": 2"#);
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = program.connect();
            stream.write_all(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
    }
    wait_until("as many streams run as may", &program, || {
        streams.iter().filter(|stream| stream.peek(&mut [0]).is_ok_and(|count| count > 0)).count() == 2
    });
    let served: HashSet<_> = (0..50).map(|_| get(&program, "/pid").0).collect();
    assert_eq!(served, HashSet::from([200]));
}

#[test]
fn c_code_that_holds_the_interpreter_costs_nobody_else_anything() {
    let mut program = start(r#""workers": 2, "threads": 4, "deadline": "1s""#);
    pid(&program);
    let before = workers(&program);
    let statuses = under_load(&program, "/pid", 4, |load| {
        assert_eq!(get(&program, "/hold").0, 504);
        wait_until("the worker is replaced", &program, || workers(&program).iter().any(|worker| !before.contains(worker)));
        load.wait_for(20);
    });
    assert_cost(&statuses, 0, &program);
    program.wait_for_log("C code holds the interpreter");
    program.wait_for_log("in app");
}

#[test]
fn a_template_that_is_gone_does_not_hold_up_the_end() {
    let mut program = start(r#""workers": 2, "preload": true"#);
    let template = get(&program, "/about").1.split('|').next().unwrap().parse().unwrap();
    kill("KILL", template);
    wait_until("the template is gone", &program, || !is_alive(template));
    program.signal("TERM");
    assert!(program.wait().success());
    assert!(!program.log().contains("does not stop and is killed"), "{}", program.log());
}

#[test]
fn what_a_template_does_at_its_end_does_not_outlive_the_server() {
    let source = format!("import atexit\natexit.register(lambda: time.sleep(1000))\n{}", crate::site::SITE);
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "site_under_test:app", "workers": 1, "preload": true } } }"#;
    let mut program = Program::start(pipeline, &[("site_under_test.py", &source)]);
    let below = workers(&program);
    kill("KILL", program.pid());
    program.wait();
    wait_until("all have ended", &program, || !below.iter().any(|process| is_alive(*process)));
}

#[test]
fn the_end_does_not_wait_for_an_import_that_never_ends() {
    let mut program = start(r#""workers": 2"#);
    std::fs::write(program.folder().join("site_under_test.py"), "import time\ntime.sleep(1000)\n").unwrap();
    program.signal("HUP");
    wait_until("the new workers import", &program, || workers(&program).len() == 3);
    assert_eq!(ask(program.address(), "/pid").0, 200);
    let all = workers(&program);
    program.signal("TERM");
    assert!(program.wait().success());
    wait_until("all have ended", &program, || !all.iter().any(|worker| is_alive(*worker)));
}

#[test]
fn a_queue_of_one_answers_everybody_at_once_or_in_turn() {
    let program = start(r#""workers": 1, "threads": 1, "queue": { "limit": 1, "wait": "30s" }"#);
    let mut inside = program.connect();
    inside.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());
    let address = program.address();
    let statuses = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(move || ask(address, "/pid").0)).collect();
        wait_until("seven are refused", &program, || clients.iter().filter(|client| client.is_finished()).count() == 7);
        std::fs::write(program.folder().join("go"), "").unwrap();
        let mut statuses: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        statuses.sort_unstable();
        statuses
    });
    assert_eq!(statuses, [200, 503, 503, 503, 503, 503, 503, 503]);
    let mut answer = String::new();
    inside.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
