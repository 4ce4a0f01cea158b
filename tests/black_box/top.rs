//! `ziggurat top` in a terminal of its own.

use std::process::{Command, Stdio};

use crate::support::{Program, command, virtual_env};

const PIPELINE: &str = r#"{
    "listen": "127.0.0.1:0",
    "server": { "control": "control.sock", "timing": true },
    "layers": ["request_id"],
    "app": { "routes": [{ "match": { "path": "/fails" }, "app": { "respond": 503 } }, { "app": { "respond": { "body": "hello" } } }] }
}"#;

/// Runs its arguments in a terminal of 80 columns and 24 lines. Waits until the screen has shown each word of the first argument, then sends the second one: keys, or `SIG` and
/// the number of a signal. Prints the exit code, whether the terminal is as it was before, and all that was written to it.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
words, act, program = sys.argv[1].split(","), sys.argv[2], sys.argv[3:]
main, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before = termios.tcgetattr(terminal)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(terminal, descriptor)
    os.execv(program[0], program)
shown, acted, until = b"", False, time.monotonic() + 30
while time.monotonic() < until:
    if select.select([main], [], [], 0.05)[0]:
        shown += os.read(main, 65536)
    if not acted and all(word.encode() in shown for word in words):
        acted = True
        if act.startswith("SIG"):
            os.kill(pid, int(act[3:]))
        else:
            os.write(main, act.encode())
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        while select.select([main], [], [], 0)[0]:
            shown += os.read(main, 65536)
        break
else:
    os.kill(pid, 9)
    sys.exit("it goes on: %r" % shown)
print(os.waitstatus_to_exitcode(status), before == termios.tcgetattr(terminal), repr(shown))
"#;

fn in_terminal(program: &Program, words: &str, act: &str, variables: &[(&str, &str)]) -> String {
    let mut python = Command::new(virtual_env().join("bin/python"));
    python.args(["-c", TERMINAL, words, act, env!("CARGO_BIN_EXE_ziggurat"), "top", "pipeline.json"]);
    python.current_dir(program.folder()).env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
    let output = python.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_shows_the_stack_and_gives_the_terminal_back_however_it_ends() {
    let program = Program::start(PIPELINE, &[]);
    program.get("/");
    program.get("/fails");
    for (act, code) in [("q", 0), ("\u{3}", 0), ("SIG15", 143), ("SIG1", 129)] {
        let said = in_terminal(&program, "request_id,routes,fails,q quit", act, &[]);
        assert!(said.starts_with(&format!("{code} True ")), "{act:?}: {said}");
        // The screen of before, and the cursor.
        assert!(said.contains(r"\x1b[?1049h") && said.contains(r"\x1b[?1049l") && said.contains(r"\x1b[?25h"), "{act:?}: {said}");
        assert!(said.contains(r"\x1b[38;5;"), "{act:?}: {said}");
    }
    let plain = in_terminal(&program, "q quit", "tq", &[("NO_COLOR", "1")]);
    assert!(plain.starts_with("0 True ") && !plain.contains(r"\x1b[38;5;"), "{plain}");
}

#[test]
fn without_a_terminal_it_prints_the_figures_once() {
    let program = Program::start(PIPELINE, &[]);
    for _ in 0..3 {
        program.get("/");
    }
    let output = command(program.folder()).args(["top", "pipeline.json"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("request_id") && text.contains("> path /fails"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let output = command(program.folder()).args(["top", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = status["steps"].as_array().unwrap();
    let requests: Vec<_> = steps.iter().map(|step| (step["place"].as_str(), step["times"]["requests"].as_u64())).collect();
    assert_eq!(
        requests,
        [
            (Some("request_id"), Some(3)),
            (Some("routes"), Some(3)),
            (None, None),
            (Some("fails/respond"), Some(0)),
            (None, None),
            (Some("default/respond"), Some(3)),
        ]
    );
}

#[test]
fn a_server_that_does_not_answer_is_an_error() {
    let folder = crate::support::folder_of(&[("pipeline.json", PIPELINE)]);
    let output = command(folder.path()).args(["top"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("no server answers at"), "{text}");
}
