//! SIGHUP: the file is read again while the program serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::slow::SLOW;
use crate::support::{PATIENCE, Program, command, folder_of};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// A file that answers with this text on one address.
fn saying(text: &str) -> String {
    format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "respond": {{ "status": 200, "body": "{text}" }} }} }}"#)
}

fn rewrite(program: &Program, pipeline: &str) {
    std::fs::write(program.folder().join("pipeline.json"), pipeline).unwrap();
}

/// Asks on a connection that stays open, and reads until the answer ends so.
fn ask(stream: &mut TcpStream, end: &str) {
    stream.write_all(GET).unwrap();
    read_until(stream, end);
}

fn read_until(stream: &mut TcpStream, end: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut octet = [0];
        assert_eq!(stream.read(&mut octet).unwrap(), 1, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.push(octet[0]);
    }
}

#[test]
fn the_next_request_of_an_open_connection_gets_the_new_answer() {
    let mut program = Program::start(&saying("one"), &[]);
    let mut stream = program.connect();
    ask(&mut stream, "one");
    rewrite(&program, &saying("two"));
    program.signal("HUP");
    assert!(program.wait_for_log("reloaded after").contains("ms: respond"));
    ask(&mut stream, "two");
    assert!(program.get("/").ends_with("two"));
}

#[test]
fn a_bad_file_changes_nothing_and_is_shown_with_carets() {
    let mut program = Program::start(&saying("one"), &[]);
    rewrite(
        &program,
        "{\n  \"listen\": \"127.0.0.1:0\",\n  \"layers\": [{ \"compress\": { \"levle\": 6 } }],\n  \"app\": { \"respond\": 204 }\n}\n",
    );
    program.signal("HUP");
    program.wait_for_log("not reloaded");
    program.wait_for_log("did you mean `level`?");
    let log = program.log();
    assert!(log.contains("pipeline.json:3:30") && log.contains("^^^^^^^"), "{log}");
    assert!(program.get("/").ends_with("one"));

    rewrite(&program, &saying("three"));
    program.signal("HUP");
    program.wait_for_log("reloaded after");
    assert!(program.get("/").ends_with("three"));
}

#[test]
fn an_app_that_cannot_be_imported_leaves_the_old_one_at_work() {
    let wsgi = |app: &str| format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "{app}", "workers": 0 }} }} }}"#);
    let mut program = Program::start(
        &wsgi("good:app"),
        &[
            ("good.py", "def app(e, s):\n    s('200 OK', [])\n    return [b'good']\n"),
            ("bad.py", "import does_not_exist_anywhere\n"),
            ("better.py", "def app(e, s):\n    s('200 OK', [])\n    return [b'better']\n"),
        ],
    );
    rewrite(&program, &wsgi("bad:app"));
    program.signal("HUP");
    program.wait_for_log("ModuleNotFoundError");
    assert!(program.get("/").ends_with("good"));
    rewrite(&program, &wsgi("better:app"));
    program.signal("HUP");
    program.wait_for_log("reloaded after");
    assert!(program.get("/").ends_with("better"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn listeners_come_and_go_and_the_others_stay() {
    let listening = |listen: &str| format!(r#"{{ "listen": {listen}, "app": {{ "respond": {{ "status": 200, "body": "hello" }} }} }}"#);
    let mut program = Program::start(&listening(r#"["127.0.0.1:0", "unix:old.sock"]"#), &[]);
    let mut stream = program.connect();
    ask(&mut stream, "hello");
    rewrite(&program, &listening(r#"["unix:new.sock", "127.0.0.1:0"]"#));
    program.signal("HUP");
    assert!(program.wait_for_log("no longer listening").contains("old.sock"));
    program.wait_for_log("reloaded after");
    assert!(program.log().contains("listening on unix:new.sock"));
    assert!(!program.folder().join("old.sock").exists());
    let mut local = std::os::unix::net::UnixStream::connect(program.folder().join("new.sock")).unwrap();
    local.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    local.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    ask(&mut stream, "hello");
    assert!(program.get("/").ends_with("hello"));
}

#[test]
fn a_port_in_use_leaves_the_old_file_in_force() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Program::start(&saying("one"), &[]);
    let pipeline =
        format!("{{\n  \"listen\": [\"unix:x.sock\", \"{}\"],\n  \"app\": {{ \"respond\": 204 }}\n}}\n", taken.local_addr().unwrap());
    rewrite(&program, &pipeline);
    program.signal("HUP");
    program.wait_for_log("pipeline.json:2:29");
    assert!(program.get("/").ends_with("one"));
    assert!(!program.folder().join("x.sock").exists());
}

#[test]
fn an_address_that_the_server_itself_stands_in_the_way_of_is_explained() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listening = |host: &str| format!(r#"{{ "listen": "{host}:{free}", "app": {{ "respond": {{ "body": "one" }} }} }}"#);
    let mut program = Program::start(&listening("127.0.0.1"), &[]);
    rewrite(&program, &listening("0.0.0.0"));
    program.signal("HUP");
    assert!(program.wait_for_log("hint: the running server listens on").contains("takes a restart"));
    assert!(program.get("/").ends_with("one"));
}

#[test]
fn a_slow_request_finishes_in_its_stack_and_is_waited_for_at_the_end() {
    let mut program =
        Program::start(r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "slow:app", "workers": 0, "threads": 2 } } }"#, &[SLOW]);
    let mut stream = program.connect();
    stream.write_all(GET).unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    rewrite(&program, &saying("new"));
    program.signal("HUP");
    program.wait_for_log("reloaded after");
    assert!(program.get("/").ends_with("new"));
    program.signal("TERM");
    program.wait_for_log("stopping");
    std::fs::write(program.folder().join("go"), "").unwrap();
    read_until(&mut stream, "done");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn a_request_that_never_ends_does_not_keep_its_stack_longer_than_the_drain() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "stuck:app", "workers": 1, "threads": 1 } } }"#,
        &[("stuck.py", "import time\ndef app(e, s):\n    open('started', 'w').close()\n    while True: time.sleep(0.01)\n")],
    );
    let mut stream = program.connect();
    stream.write_all(GET).unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    rewrite(&program, &saying("new").replace("\"app\"", "\"server\": { \"drain\": \"100ms\" }, \"app\""));
    program.signal("HUP");
    program.wait_for_log("had not finished within `drain`");
    // Its client is not left waiting.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 50"), "{}", String::from_utf8_lossy(&answer));
    assert!(program.get("/").ends_with("new"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn a_slow_download_is_cut_off_after_the_drain_and_every_request_is_logged() {
    let site = |drain: &str| {
        format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "{drain}" }}, "layers": [{{ "access_log": {{ "format": "json", "to": "access.log" }} }}],
                 "app": {{ "static": "files" }} }}"#
        )
    };
    let mut program = Program::start(&site("30s"), &[("files/small.txt", "")]);
    let begin = |program: &Program| {
        let mut stream = program.connect();
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        read_until(&mut stream, "\r\n\r\n");
        stream
    };
    let cut = |mut stream: TcpStream| {
        let mut octets = Vec::new();
        // A reset is no whole response either.
        let _ = stream.read_to_end(&mut octets);
        assert!(octets.len() < 1 << 30, "{} octets", octets.len());
    };
    std::fs::File::create(program.folder().join("files/large.bin")).unwrap().set_len(1 << 30).unwrap();
    let slow = begin(&program);
    rewrite(&program, &site("100ms"));
    program.signal("HUP");
    program.wait_for_log("had not finished within `drain`");
    cut(slow);
    let slow = begin(&program);
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert!(program.log().contains("1 connections had not finished within `drain`"), "{}", program.log());
    cut(slow);
    let log = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
    assert_eq!((log.lines().count(), log.matches("\"complete\":false").count()), (2, 2), "{log}");
}

#[test]
fn many_signals_at_once_end_in_the_newest_file() {
    let mut program = Program::start(&saying("one"), &[]);
    for number in 0..30 {
        rewrite(&program, &saying(&format!("number {number}!")));
        program.signal("HUP");
    }
    while !program.get("/").ends_with("number 29!") {
        std::thread::yield_now();
    }
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    let reloads = program.log().matches("reloaded after").count();
    assert!((1..=30).contains(&reloads), "{}", program.log());
}

/// Clients that ask all the time, half of them on connections that stay open, until they are told to stop.
struct Hammers {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<u32>>,
}

impl Hammers {
    /// Each answer ends in `end`.
    fn start(program: &Program, end: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = program.address();
        let connect = move || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let hammer = |nth| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut asked = 0_u32;
                let mut stream = connect();
                while !stop.load(Relaxed) {
                    ask(&mut stream, end);
                    asked += 1;
                    if nth % 2 == 0 {
                        stream = connect();
                    }
                }
                asked
            })
        };
        let threads = (0..4).map(hammer).collect();
        Self { stop, threads }
    }

    /// None of them has met a failure.
    fn end(self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            assert!(thread.join().unwrap() > 0);
        }
    }
}

#[test]
fn no_request_fails_during_twenty_reloads() {
    let mut program = Program::start(&saying("generation 0!"), &[]);
    let hammers = Hammers::start(&program, "!");
    for number in 1..=20 {
        rewrite(&program, &saying(&format!("generation {number}!")));
        program.signal("HUP");
        while !program.get("/").ends_with(&format!("generation {number}!")) {
            std::thread::yield_now();
        }
    }
    hammers.end();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn no_request_fails_while_worker_processes_are_exchanged() {
    let app = |number: u32| format!("def app(e, s):\n    s('200 OK', [('Content-Length', '9')])\n    return [b'number {number}!']\n");
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "site_app:app", "workers": 2, "threads": 2 } } }"#;
    let mut program = Program::start(pipeline, &[("site_app.py", &app(0))]);
    let hammers = Hammers::start(&program, "!");
    for number in 1..=5 {
        std::fs::write(program.folder().join("site_app.py"), app(number)).unwrap();
        program.signal("HUP");
        while !program.get("/").ends_with(&format!("number {number}!")) {
            std::thread::yield_now();
        }
    }
    hammers.end();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn a_stop_is_heard_while_the_new_app_is_still_being_imported() {
    let mut program =
        Program::start(&saying("one"), &[("stuck.py", "import time\nopen('started', 'w').close()\nwhile True: time.sleep(0.01)\n")]);
    rewrite(&program, r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "stuck:app", "workers": 0 } } }"#);
    program.signal("HUP");
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    assert!(program.get("/").ends_with("one"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn workers_that_are_still_starting_end_with_the_program() {
    let stuck =
        "import os, time\nopen('pid.new', 'w').write(str(os.getpid()))\nos.rename('pid.new', 'pid')\nwhile True: time.sleep(0.01)\n";
    let mut program = Program::start(&saying("one"), &[("stuck.py", stuck)]);
    rewrite(&program, r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "stuck:app", "workers": 1 } } }"#);
    program.signal("HUP");
    let pid = program.folder().join("pid");
    while !pid.exists() {
        std::thread::yield_now();
    }
    assert!(program.get("/").ends_with("one"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    let process = std::path::Path::new("/proc").join(std::fs::read_to_string(pid).unwrap());
    while std::fs::read_to_string(process.join("cmdline")).is_ok_and(|line| !line.is_empty()) {
        std::thread::yield_now();
    }
}

#[test]
fn an_app_without_a_file_has_nothing_to_reload() {
    let folder = folder_of(&[("hello.py", "def app(e, s):\n    s('200 OK', [])\n    return [b'hello']\n")]);
    let mut command = command(folder.path());
    command.args(["hello:app", "--listen", "127.0.0.1:0"]);
    let mut program = Program::spawn(command, folder);
    program.signal("HUP");
    program.wait_for_log("there is no file to reload");
    assert!(program.get("/").ends_with("hello"));
}
