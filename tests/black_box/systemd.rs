//! Started as systemd would: with sockets that are open already.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::support::{PATIENCE, Program, command, folder_of, virtual_env};

/// Passes two sockets by the protocol of sd_listen_fds(3), and becomes the program.
const LAUNCHER: &str = r#"
import fcntl, os, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
copies = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in sockets]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="http:admin")
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn start(listen: &str) -> Program {
    let pipeline = format!(r#"{{ "listen": {listen}, "app": {{ "respond": {{ "status": 200, "body": "hello" }} }} }}"#);
    let folder = folder_of(&[("pipeline.json", &pipeline), ("launch.py", LAUNCHER)]);
    let mut command = Command::new(virtual_env().join("bin/python"));
    command.current_dir(folder.path()).env("NO_COLOR", "1").args(["launch.py", env!("CARGO_BIN_EXE_ziggurat"), "run"]);
    Program::spawn(command, folder)
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The addresses that the program says it listens on, with the descriptors' numbers.
fn addresses(program: &Program) -> Vec<(u32, String)> {
    let log = program.log();
    let lines = log.lines().filter_map(|line| line.strip_prefix("listening on fd:"));
    lines
        .map(|line| {
            let (number, address) = line.split_once(" (http://").unwrap();
            (number.parse().unwrap(), address.trim_end_matches(')').to_owned())
        })
        .collect()
}

#[test]
fn every_socket_that_systemd_passed_is_served() {
    let program = start(r#""systemd""#);
    let found = addresses(&program);
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
    for (_, address) in found {
        assert!(get(&address).ends_with("hello"));
    }
}

#[test]
fn a_socket_is_taken_by_its_name_and_processes_to_come_inherit_none() {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let program = start(r#""systemd:admin""#);
    let found = addresses(&program);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, 4);
    assert!(get(&found[0].1).ends_with("hello"));
    for number in [3, 4] {
        let facts = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", program.pid())).unwrap();
        let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        assert_ne!(u32::from_str_radix(flags.trim(), 8).unwrap() & CLOSE_ON_EXEC, 0, "{facts}");
    }
}

#[test]
fn without_systemd_the_line_that_asks_for_it_is_shown() {
    let folder = folder_of(&[("pipeline.json", "{\n  \"listen\": \"systemd\",\n  \"app\": { \"respond\": 204 }\n}\n")]);
    let output = command(folder.path()).arg("run").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("pipeline.json:2:13") && text.contains("hint: start the server by a socket unit"), "{text}");
}
