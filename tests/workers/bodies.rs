//! Bodies far larger than the windows: neither process holds more of them than that.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::site::{ask, get, pid, start, wait_until};
use crate::support::{PATIENCE, Program};

const SIZE: usize = 64 << 20;

/// What the windows, pipes and buffers of one body may come to, with room for what the allocator keeps.
const LIMIT: u64 = 16 << 20;

/// The most memory that front and worker had at any time.
fn peaks(program: &Program) -> [u64; 2] {
    [program.pid(), pid(program)].map(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    })
}

fn assert_bounded(program: &Program, before: [u64; 2]) {
    for (who, before, after) in [("front", before[0], peaks(program)[0]), ("worker", before[1], peaks(program)[1])] {
        assert!(after - before < LIMIT, "the {who} grew from {before} to {after}");
    }
}

#[test]
fn an_answer_that_nobody_reads_for_a_while_leaves_its_thread() {
    let program = start(r#""workers": 1, "threads": 1"#);
    let before = peaks(&program);
    let mut reader = program.connect();
    reader.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(reader.peek(&mut [0]).unwrap(), 1);
    // As long as somebody else takes to be served so often, nothing is read.
    for _ in 0..100 {
        assert_eq!(get(&program, "/pid").0, 200);
    }
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > SIZE && answer.ends_with(b"\r\n0\r\n\r\n"), "{}", answer.len());
    assert_bounded(&program, before);
}

#[test]
fn a_streamed_upload_that_the_app_does_not_read_for_a_while_stays_with_the_client() {
    let program = start(r#""workers": 1, "threads": 2, "streaming": true"#);
    let before = peaks(&program);
    let mut client = program.connect();
    write!(client, "POST /upload HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n").unwrap();
    client.set_nonblocking(true).unwrap();
    let block = vec![b'x'; 1 << 20];
    let (mut sent, mut refusals) = (0, 0);
    // Until nothing was taken while somebody else was served so often.
    while refusals < 50 {
        match client.write(&block) {
            Ok(count) => (sent, refusals) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(get(&program, "/pid").0, 200);
                refusals += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < SIZE / 2, "{sent}");
    fs::write(program.folder().join("go"), "").unwrap();
    client.set_nonblocking(false).unwrap();
    while sent < SIZE {
        let count = block.len().min(SIZE - sent);
        client.write_all(&block[..count]).unwrap();
        sent += count;
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&SIZE.to_string()), "{answer}");
    assert_bounded(&program, before);
}

#[test]
fn long_uploads_that_hardly_come_hold_no_thread() {
    let program = start(r#""workers": 1, "threads": 1"#);
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut client = program.connect();
            write!(client, "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\nx").unwrap();
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(get(&program, "/pid").0, 200);
    }
    drop(slow);
}

#[test]
fn long_uploads_behind_a_busy_thread_are_served_in_their_turn() {
    let program = start(r#""workers": 1, "threads": 1"#);
    let address = program.address();
    let upload = move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "POST /upload HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 3 << 20).unwrap();
        // Where it is refused, the rest is not taken.
        let _ = client.write_all(&vec![b'x'; 3 << 20]);
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    };
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..4).map(|_| scope.spawn(upload)).collect();
        let behind = scope.spawn(move || ask(address, "/pid"));
        // A thread begins with one, and the others wait for longer than any desk keeps what it cannot begin.
        let begin = Instant::now();
        wait_until("they have waited", &program, || begin.elapsed() > Duration::from_millis(300));
        fs::write(program.folder().join("go"), "").unwrap();
        for upload in uploads {
            let answer = upload.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&(3 << 20).to_string()), "{answer}");
        }
        assert_eq!(behind.join().unwrap().0, 200);
    });
}

#[test]
fn a_head_that_no_frame_holds_is_refused_and_the_log_names_the_request() {
    let app = "def app(environ, start_response):\n\
        \x20   start_response('200 OK', [('X-Large', 'x' * (1 << 20))] * 5)\n\
        \x20   return [b'never']\n";
    let site = r#"{ "listen": "127.0.0.1:0", "layers": ["request_id"], "app": { "wsgi": { "app": "large_head:app", "workers": 1 } } }"#;
    let mut program = Program::start(site, &[("large_head.py", app)]);
    assert_eq!(get(&program, "/report?secret").0, 500);
    let line = program.wait_for_log("larger than 4 MiB");
    assert!(line.contains("request=GET /report ") && line.contains("request_id=") && !line.contains("secret"), "{line}");
}
