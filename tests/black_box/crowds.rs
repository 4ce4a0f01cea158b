//! More clients than there are descriptors.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::support::{PATIENCE, Program, command, folder_of};

/// The descriptors that the program may have, and how many of them clients never get.
const DESCRIPTORS: usize = 100;
const LEFT_TO_FILES: usize = 13;

const CROWD: usize = 250;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// A server of `listen` that answers `x`, or passes a request on to where nobody answers.
fn start(listen: &str, folder: tempfile::TempDir, silent: &TcpListener) -> Program {
    let routes = format!(
        r#"{{ "match": {{ "path": "/silent" }}, "app": {{ "proxy": "http://{}" }} }}, {{ "app": {{ "respond": {{ "body": "x" }} }} }}"#,
        silent.local_addr().unwrap()
    );
    let pipeline = format!(r#"{{ "listen": {listen}, "app": {{ "routes": [{routes}] }} }}"#);
    fs::write(folder.path().join("pipeline.json"), pipeline).unwrap();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={DESCRIPTORS}")).args([env!("CARGO_BIN_EXE_ziggurat"), "run", "pipeline.json"]);
    command.current_dir(folder.path()).env("NO_COLOR", "1");
    Program::spawn(command, folder)
}

/// Clients that send these octets and nothing more.
fn crowd(program: &Program, octets: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut client = program.connect();
        // Some are closed before it.
        let _ = client.write_all(octets);
        client
    };
    (0..CROWD).map(connect).collect()
}

fn open_descriptors(program: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().count()
}

fn assert_that_a_client_gets_through(program: &Program, get: impl Fn() -> String, what: &str) {
    // The crowd itself is let in and out first.
    let since = Instant::now();
    while get().starts_with("HTTP/1.1 503 ") {
        assert!(since.elapsed() < PATIENCE, "{what}: {}", program.log());
    }
    for _ in 0..3 {
        let answer = get();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with('x'), "{what}: {answer}\n{}", program.log());
        let open = open_descriptors(program);
        assert!(open <= DESCRIPTORS - LEFT_TO_FILES, "{what}: {open} of {DESCRIPTORS} are open");
    }
    assert!(!program.log().contains("cannot accept"), "{what}: {}", program.log());
}

#[test]
fn clients_that_send_no_request_make_room_for_others() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let kinds: [(&str, &[u8]); 4] = [
        ("silent", b""),
        ("a part of a head", b"GET / HTTP/1.1\r\nHos"),
        ("HTTP/2 without a request", http2),
        ("a connection that was used", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
    ];
    for (what, octets) in kinds {
        let program = start(r#""127.0.0.1:0""#, folder_of(&[]), &silent);
        let _crowd = crowd(&program, octets);
        assert_that_a_client_gets_through(&program, || program.exchange(GET), what);
    }
}

#[test]
fn clients_that_begin_no_handshake_or_do_not_end_it_make_room_for_others() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (what, octets) in [("silent", &b""[..]), ("a part of a record", &[0x16, 3, 1, 1, 0, 1][..])] {
        let folder = folder_of(&[]);
        assert!(command(folder.path()).args(["certs", "--self-signed"]).output().unwrap().status.success());
        let listen = r#"{ "at": "127.0.0.1:0", "tls": { "cert": "tls/localhost.pem", "key": "tls/localhost.key" } }"#;
        let program = start(listen, folder, &silent);
        let _crowd = crowd(&program, octets);
        let get = || {
            let curl = ["--silent", "--insecure", "--include", "--http1.1", "--max-time", "30"];
            let address = format!("https://{}/", program.address());
            String::from_utf8(Command::new("curl").args(curl).arg(address).output().unwrap().stdout).unwrap()
        };
        assert_that_a_client_gets_through(&program, get, what);
    }
}

#[test]
fn every_client_is_told_that_all_others_are_busy() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = start(r#""127.0.0.1:0""#, folder_of(&[]), &silent);
    let busy = crowd(&program, b"GET /silent HTTP/1.1\r\nHost: test\r\n\r\n");
    // The connections to the silent server take the descriptors that were left to files.
    let clients: Vec<_> = (0..20).map(|_| program.connect()).collect();
    let told = |mut client: TcpStream| {
        let mut answer = String::new();
        let _ = client.write_all(GET.as_bytes());
        let _ = client.read_to_string(&mut answer);
        answer
    };
    let answers = clients.into_iter().map(|client| thread::spawn(move || told(client))).collect::<Vec<_>>();
    for answer in answers {
        let answer = answer.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    // Those that are served are not cut off.
    let waits = |mut client: &TcpStream| {
        client.set_nonblocking(true).unwrap();
        client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let waiting = busy.iter().filter(|client| waits(client)).count();
    assert!(waiting > 20, "{waiting} are served");
}
