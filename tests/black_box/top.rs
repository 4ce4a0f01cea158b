//! `ziggurat top` in a terminal of its own.

use std::process::{Command, Stdio};

use crate::support::{Program, command, virtual_env};

const PIPELINE: &str = r#"{
    "listen": "127.0.0.1:0",
    "server": { "control": "control.sock", "timing": true },
    "layers": ["request_id"],
    "app": { "routes": [{ "match": { "path": "/fails" }, "app": { "respond": 503 } }, { "app": { "respond": { "body": "hello" } } }] }
}"#;

/// Runs its arguments in a terminal of 80 columns and 24 lines. The first argument is a list of steps in JSON: each waits until the screen has shown its words since the step before, and
/// then acts. An act is keys, a size such as `10x3` that the terminal gets, or `SIG` and the number of a signal. Prints the exit code, whether the terminal is as it was before, and what was
/// written to it in each step.
const TERMINAL: &str = r#"
import fcntl, json, os, pty, re, select, struct, sys, termios, time
steps, program = json.loads(sys.argv[1]), sys.argv[2:]
main, terminal = pty.openpty()

def resize(columns, lines):
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

resize(80, 24)
before = termios.tcgetattr(terminal)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(terminal, descriptor)
    os.execv(program[0], program)
shown, until = [""], time.monotonic() + 30
while time.monotonic() < until:
    if select.select([main], [], [], 0.05)[0]:
        shown[-1] += os.read(main, 65536).decode("latin-1")
    if len(shown) <= len(steps) and all(word in shown[-1] for word in steps[len(shown) - 1][0]):
        act = steps[len(shown) - 1][1]
        shown.append("")
        if act.startswith("SIG"):
            os.kill(pid, int(act[3:]))
        elif size := re.fullmatch("([0-9]+)x([0-9]+)", act):
            resize(int(size[1]), int(size[2]))
        else:
            os.write(main, act.encode())
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        while select.select([main], [], [], 0)[0]:
            shown[-1] += os.read(main, 65536).decode("latin-1")
        break
else:
    os.kill(pid, 9)
    sys.exit("it goes on: %r" % shown)
print(json.dumps([os.waitstatus_to_exitcode(status), before == termios.tcgetattr(terminal), shown]))
"#;

/// What a terminal has seen of a program: its exit code, whether the terminal is as it was before, and the output of each step.
type Seen = (i32, bool, Vec<String>);

/// Runs `ziggurat top` in a terminal. A step is words that it waits for, and an act.
fn in_terminal(program: &Program, steps: &[(&[&str], &str)], variables: &[(&str, &str)]) -> Seen {
    let mut python = Command::new(virtual_env().join("bin/python"));
    let steps = serde_json::to_string(steps).unwrap();
    python.args(["-c", TERMINAL, &steps, env!("CARGO_BIN_EXE_ziggurat"), "top", "pipeline.json"]);
    python.current_dir(program.folder()).env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
    let output = python.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Takes the screen.
const ENTER: &str = "\u{1b}[?1049h";
/// Gives the screen of before back, and the cursor.
const LEAVE: [&str; 2] = ["\u{1b}[?1049l", "\u{1b}[?25h"];
const COLOR: &str = "\u{1b}[38;5;";

#[test]
fn it_shows_the_stack_and_gives_the_terminal_back_however_it_ends() {
    let program = Program::start(PIPELINE, &[]);
    program.get("/");
    program.get("/fails");
    for (act, code) in [("q", 0), ("\u{3}", 0), ("SIG2", 130), ("SIG15", 143), ("SIG1", 129)] {
        let (ended, is_restored, shown) = in_terminal(&program, &[(&["request_id", "routes", "fails", "q quit"], act)], &[]);
        assert_eq!((ended, is_restored), (code, true), "{act:?}: {shown:?}");
        let shown = shown.concat();
        assert!(shown.contains(ENTER) && LEAVE.iter().all(|end| shown.contains(end)) && shown.contains(COLOR), "{act:?}: {shown:?}");
    }
    let (ended, is_restored, plain) = in_terminal(&program, &[(&["q quit"], "tq")], &[("NO_COLOR", "1")]);
    assert!(ended == 0 && is_restored && !plain.concat().contains(COLOR), "{plain:?}");
}

#[test]
fn it_draws_as_much_as_a_terminal_of_any_size_has_room_for() {
    let program = Program::start(PIPELINE, &[]);
    let whole: &[&str] = &["arrows scroll", "request_id"];
    // The title and the keys, cut off at the width.
    let narrow: &[&str] = &["ziggurat s\u{1b}[0m", "q quit  o \u{1b}[0m"];
    let one: &[&str] = &["\u{1b}[1;1H\u{1b}[1mz\u{1b}[0m"];
    let steps = [(whole, "10x3"), (narrow, "1x1"), (one, "250x80"), (whole, "80x24"), (whole, "q")];
    let (ended, is_restored, shown) = in_terminal(&program, &steps, &[]);
    assert_eq!((ended, is_restored), (0, true), "{shown:?}");
    for (step, lines) in [(1, 3), (2, 1)] {
        let frame = &shown[step][shown[step].rfind("\u{1b}[1;1H").unwrap()..];
        assert!(!frame.contains(&format!("\u{1b}[{};1H", lines + 1)), "{lines} lines: {frame:?}");
    }
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
