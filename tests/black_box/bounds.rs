//! `access`, `rate_limit` and `limit` in the running program: over real sockets, over a reload, under load.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use crate::support::{PATIENCE, Program, folder_of};

/// A file that answers `in` behind these layers.
fn behind(layers: &str) -> String {
    format!(r#"{{ "listen": "127.0.0.1:0", "layers": [{layers}], "app": {{ "respond": {{ "body": "in" }} }} }}"#)
}

fn reload(program: &mut Program, pipeline: &str, times: usize) {
    std::fs::write(program.folder().join("pipeline.json"), pipeline).unwrap();
    program.signal("HUP");
    let since = Instant::now();
    while program.log().matches("reloaded after").count() < times {
        assert!(since.elapsed() < PATIENCE, "{}", program.log());
        thread::yield_now();
    }
}

#[test]
fn clients_are_let_in_by_the_address_that_a_trusted_proxy_names() {
    let program = Program::start(
        &behind(r#"{ "forwarded": "127.0.0.1" }, { "access": [{ "deny": "203.0.113.7" }, { "allow": ["203.0.113.0/24", "unix"] }] }"#),
        &[],
    );
    let from =
        |client: &str| program.exchange(format!("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"));
    assert!(from("203.0.113.8").ends_with("in"));
    for client in ["203.0.113.7", "127.0.0.1", "::ffff:203.0.113.7"] {
        let refused = from(client);
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("access from this address is denied"), "{client}: {refused}");
    }
    assert!(program.get("/").starts_with("HTTP/1.1 403"));
}

#[test]
fn a_rate_limit_forgets_nothing_at_a_reload() {
    let limited = |more: &str| behind(&format!(r#"{more} {{ "rate_limit": {{ "allow": "3/h" }} }}"#));
    let mut program = Program::start(&limited(""), &[]);
    assert!(program.get("/").contains("ratelimit: \"rate_limit\";r=2;t=1200\r\n"));
    // A layer that is inserted above does not change its place.
    reload(&mut program, &limited(r#""request_id","#), 1);
    assert!(program.get("/").contains("ratelimit: \"rate_limit\";r=1;t=1200\r\n"));
    reload(&mut program, &limited(""), 2);
    let last = program.get("/");
    assert!(
        last.contains("ratelimit: \"rate_limit\";r=0;t=1") && last.contains("ratelimit-policy: \"rate_limit\";q=3;w=3600\r\n"),
        "{last}"
    );
    let refused = program.get("/");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
    program.wait_for_log("over the limit of 3/h: a request of 127.0.0.1");
}

/// Sends a request on an open connection; the status of the response.
fn ask(stream: &mut BufReader<TcpStream>) -> u16 {
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the connection ended");
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    status
}

#[test]
fn of_a_thousand_requests_over_fifty_connections_as_many_pass_as_the_algorithm_says() {
    let program = Program::start(&behind(r#"{ "rate_limit": { "allow": "100/s", "burst": 400 } }"#), &[]);
    let connections: Vec<_> = (0..50).map(|_| BufReader::new(program.connect())).collect();
    let begin = Instant::now();
    let clients: Vec<_> = connections
        .into_iter()
        .map(|mut stream| {
            thread::spawn(move || {
                let mut passes = || match ask(&mut stream) {
                    200 => 1,
                    429 => 0,
                    other => panic!("{other}"),
                };
                let first = passes();
                let answered = Instant::now();
                (first + (1..20).map(|_| passes()).sum::<u32>(), answered)
            })
        })
        .collect();
    let (passed, answered): (Vec<u32>, Vec<Instant>) = clients.into_iter().map(|client| client.join().unwrap()).unzip();
    // One more request tells how many could have passed until then.
    let at_least = answered.iter().min().unwrap().elapsed().as_secs_f64();
    let response = program.get("/");
    let at_most = begin.elapsed().as_secs_f64();
    let left = response.split(";r=").nth(1).and_then(|rest| rest.split(';').next()).unwrap().parse::<u32>().unwrap();
    let passed = passed.iter().sum::<u32>() + u32::from(response.starts_with("HTTP/1.1 200"));
    let allowed = |seconds: f64| 400.0 + 100.0 * seconds;
    assert!(passed < 1000, "the limit was never reached within {at_most} s");
    assert!(f64::from(passed) <= 1.01 * allowed(at_most), "{passed} passed within {at_most} s");
    assert!(f64::from(passed + left) >= 0.99 * allowed(at_least), "{passed} passed within {at_least} s, and {left} are left");
}

#[test]
fn a_request_is_under_way_until_its_client_has_the_response_or_has_gone() {
    let folder = folder_of(&[
        (
            "pipeline.json",
            r#"{ "listen": "127.0.0.1:0", "layers": [{ "limit": { "at_most": 1, "queue": { "limit": 0 } } }], "app": { "static": "files" } }"#,
        ),
        ("files/small", "small"),
    ]);
    File::create(folder.path().join("files/large")).unwrap().set_len(1 << 30).unwrap();
    let mut command = crate::support::command(folder.path());
    command.args(["run", "pipeline.json"]);
    let program = Program::spawn(command, folder);
    assert!(program.get("/small").ends_with("small"));
    let mut slow = program.connect();
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    slow.read_exact(&mut [0; 1024]).unwrap();
    let refused = program.get("/small");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1\r\n"), "{refused}");
    drop(slow);
    let since = Instant::now();
    while !program.get("/small").ends_with("small") {
        assert!(since.elapsed() < PATIENCE, "the place is not free");
        thread::yield_now();
    }
}

#[test]
fn a_request_in_the_queue_goes_on_when_another_one_has_ended() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "limit": { "at_most": 1, "per": "client" } }], "app": { "wsgi": { "app": "count:app", "workers": 1, "threads": 4 } } }"#,
        &[(
            "count.py",
            "import threading\ninside, most, lock = 0, 0, threading.Lock()\ndef app(e, s):\n    global inside, most\n    with lock:\n        inside += 1; most = max(most, inside)\n    threading.Event().wait(0.02)\n    with lock:\n        inside -= 1\n    s('200 OK', [])\n    return [b'most=%d' % most]\n",
        )],
    );
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = program.connect();
            thread::spawn(move || {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert!(answer.ends_with("most=1"), "{answer}");
    }
}
