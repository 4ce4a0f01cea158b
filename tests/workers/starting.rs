//! Workers come with the server, as the file says, and go with it.

use std::fs;
use std::io::{Read, Write};

use crate::site::{get, is_alive, kill, pid, processes_below, start, wait_until};
use crate::support::{Program, command, folder_of};

#[test]
fn the_process_list_says_which_worker_of_which_app_each_process_is() {
    let program = start(r#""workers": 2, "threads": 1"#);
    let below = processes_below(program.pid());
    for nth in [1, 2] {
        let title = format!("ziggurat: worker {nth} of wsgi (site_under_test:app)");
        assert!(below.iter().any(|(_, line)| line.contains(&title)), "{below:?}");
    }
    assert_eq!(below.len(), 2, "{below:?}");
    assert!(below.iter().any(|(worker, _)| *worker == pid(&program)));
}

#[test]
fn without_a_word_about_workers_there_is_one_per_core() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": "hello:app" } }"#,
        &[("hello.py", "def app(e, s):\n    s('200 OK', [])\n    return [b'hello']\n")],
    );
    assert!(program.get("/").ends_with("hello"));
    assert_eq!(processes_below(program.pid()).len(), std::thread::available_parallelism().unwrap().get());
}

#[test]
fn idle_workers_stay_idle_and_busy_ones_are_spared() {
    let program = start(r#""workers": 2, "threads": 1"#);
    let first = pid(&program);
    assert_eq!((pid(&program), pid(&program)), (first, first));
    let mut waiting = program.connect();
    waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request is inside the app", &program, || program.folder().join("started").exists());
    let second = pid(&program);
    fs::write(program.folder().join("go"), "").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&first.to_string()) && second != first, "{answer} {second}");
}

#[test]
fn environment_and_folder_are_the_files_and_the_environ_tells_how_many_serve() {
    let options = r#""workers": 1, "threads": 2, "env": { "COLOUR": "green" }, "chdir": "work""#;
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "site_under_test:app", {options} }} }} }}"#);
    let program = Program::start(&pipeline, &[("site_under_test.py", crate::site::SITE), ("work/empty", "")]);
    let folder = program.folder().canonicalize().unwrap();
    let worker = pid(&program);
    let about = get(&program, "/about").1;
    assert_eq!(about, format!("{worker}|False|True|{}|green", folder.join("work").display()));
    let program = start(r#""workers": 2, "threads": 1"#);
    let about = get(&program, "/about").1;
    assert!(about.contains("|True|False|") && about.ends_with("|None"), "{about}");
}

#[test]
fn an_app_that_cannot_be_imported_stops_the_start_at_its_line_with_its_traceback() {
    let folder = folder_of(&[
        ("pipeline.json", "{\n  \"app\": { \"wsgi\": { \"app\": \"broken:app\", \"workers\": 3 } }\n}\n"),
        ("broken.py", "def inner():\n    raise ValueError('no such luck')\ninner()\n"),
    ]);
    let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("module `broken` cannot be imported: it raised `ValueError`"), "{text}");
    assert!(text.contains("pipeline.json:2:29") && text.contains("^^^^^^^^^^^^"), "{text}");
    assert!(text.contains("in inner") && text.contains("ValueError: no such luck"), "{text}");
}

#[test]
fn a_worker_that_ends_while_it_imports_stops_the_start_and_its_end_is_told() {
    for workers in [r#""workers": 2"#, r#""workers": 2, "preload": true"#] {
        let pipeline = format!("{{ \"app\": {{ \"wsgi\": {{ \"app\": \"leaves:app\", {workers} }} }} }}");
        let folder = folder_of(&[("pipeline.json", &pipeline), ("leaves.py", "import os\nos._exit(7)\n")]);
        let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("ended with exit code 7 before the app was imported"), "{text}");
    }
}

#[test]
fn a_user_that_does_not_exist_stops_the_start_at_its_place() {
    let folder = folder_of(&[
        ("pipeline.json", "{ \"app\": { \"wsgi\": { \"app\": \"hello:app\",\n  \"user\": \"no-such-user\" } } }"),
        ("hello.py", "def app(e, s): pass\n"),
    ]);
    let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("there is no user `no-such-user`") && text.contains("pipeline.json:2:11"), "{text}");
}

#[test]
fn no_worker_is_left_when_the_server_ends_whatever_ends_it() {
    for (options, signal) in [
        (r#""workers": 2"#, "KILL"),
        (r#""workers": 2, "preload": true"#, "KILL"),
        (r#""workers": 2"#, "TERM"),
        (r#""workers": 2, "preload": true"#, "TERM"),
    ] {
        let mut program = start(options);
        let below = processes_below(program.pid());
        assert!(below.len() >= 2);
        kill(signal, program.pid());
        let status = program.wait();
        assert_eq!(status.success(), signal == "TERM", "{}", program.log());
        wait_until("the workers end", &program, || below.iter().all(|(worker, _)| !is_alive(*worker)));
    }
}

#[test]
fn an_import_that_never_ends_stops_the_start_and_the_log_shows_where_it_was() {
    for preload in ["", r#", "preload": true"#] {
        let pipeline =
            format!("{{ \"app\": {{ \"wsgi\": {{ \"app\": \"stuck:app\", \"workers\": 2, \"start_timeout\": \"5s\"{preload} }} }} }}");
        let folder = folder_of(&[("pipeline.json", &pipeline), ("stuck.py", "import time\ndef ever():\n    time.sleep(1000)\never()\n")]);
        let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("the app was not imported within 5 s (`start_timeout`)") && text.contains("pipeline.json:1:"), "{text}");
        assert!(text.contains("stuck.py\", line 3 in ever"), "{text}");
    }
}

/// An import that must not run twice at once, as a migration, and counts itself.
const MIGRATING: &str = "
import os, time
open('imports', 'a').write('.')
if not os.path.exists('migrated'):
    os.mkdir('migrating')
    time.sleep(0.2)
    os.rmdir('migrating')
    open('migrated', 'w').close()
def app(environ, start_response):
    start_response('200 OK', [('Content-Length', '0')])
    return []
";

#[test]
fn one_worker_imports_the_app_before_all_others() {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "migrating:app", "workers": 4, "threads": 1 } } }"#;
    let program = Program::start(pipeline, &[("migrating.py", MIGRATING)]);
    assert_eq!(get(&program, "/").0, 200);
    assert_eq!(fs::read_to_string(program.folder().join("imports")).unwrap(), "....");
}

#[test]
fn a_check_imports_the_app_once() {
    let pipeline = r#"{ "app": { "wsgi": { "app": "migrating:app", "workers": 4 } } }"#;
    let folder = folder_of(&[("pipeline.json", pipeline), ("migrating.py", MIGRATING)]);
    let output = command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(folder.path().join("imports")).unwrap(), ".");
}
