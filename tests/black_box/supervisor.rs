//! What a supervisor hears from the program and says to it.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::slow::SLOW;
use crate::support::{PATIENCE, Program, folder_of, virtual_env};

const HELLO: &str = r#"{ "listen": "127.0.0.1:0", "layers": ["request_id"], "app": { "respond": 204 } }"#;

/// A supervisor's end of sd_notify(3).
struct Supervisor {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, pipeline: &str, variables: &[(&str, &str)]) -> Program {
        let path = self.folder.path().join("notify");
        let variables = [&[("NOTIFY_SOCKET", path.to_str().unwrap())], variables].concat();
        Program::start_with(pipeline, &[], &variables)
    }

    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }
}

#[test]
fn systemd_is_notified_of_the_start_of_reloads_and_of_the_end() {
    let supervisor = Supervisor::new();
    let mut program = supervisor.start(HELLO, &[]);
    assert_eq!(supervisor.hear(), "READY=1\nSTATUS=request_id > respond\n");
    program.signal("HUP");
    let reloading = supervisor.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(supervisor.hear().starts_with("READY=1\n"));

    std::fs::write(program.folder().join("pipeline.json"), "{").unwrap();
    program.signal("HUP");
    assert!(supervisor.hear().starts_with("RELOADING=1\n"));
    assert!(supervisor.hear().starts_with("READY=1\nSTATUS=the last reload was refused"));

    program.signal("TERM");
    assert!(supervisor.hear().starts_with("STOPPING=1\n"));
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed() {
    let supervisor = Supervisor::new();
    let _program = supervisor.start(HELLO, &[("WATCHDOG_USEC", "100000")]);
    let heard: Vec<String> = std::iter::repeat_with(|| supervisor.hear()).take(4).collect();
    assert!(heard.iter().filter(|message| *message == "WATCHDOG=1\n").count() >= 3, "{heard:?}");
}

/// Starts the program in a terminal, reloads it, closes the terminal, and exits with the program's code.
const TERMINAL: &str = r#"
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"ready" not in seen:
    seen += os.read(terminal, 1000)
os.kill(pid, signal.SIGHUP)
while b"reloaded" not in seen:
    seen += os.read(terminal, 1000)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_server_ends_when_its_terminal_is_closed() {
    let folder = folder_of(&[("pipeline.json", HELLO), ("terminal.py", TERMINAL)]);
    let mut python = Command::new(virtual_env().join("bin/python"));
    python.current_dir(folder.path()).args(["terminal.py", env!("CARGO_BIN_EXE_ziggurat"), "run"]);
    let output = python.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn sigusr2_shows_where_the_apps_threads_are() {
    let mut program =
        Program::start(r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "slow:app", "workers": 0, "threads": 1 } } }"#, &[SLOW]);
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    while !program.folder().join("started").exists() {
        std::thread::yield_now();
    }
    program.signal("USR2");
    program.wait_for_log("where the threads of every app are");
    program.wait_for_log("in lingering_here");
    std::fs::write(program.folder().join("go"), "").unwrap();
}
