//! `--watch`: changes take effect at once, and a mistake is a page.

use std::fs;
use std::time::Instant;

use crate::support::{PATIENCE, Program, command, folder_of};

const PIPELINE: &str = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "mysite:app", "workers": 1, "path": "code" } } }"#;

/// An app that answers with this text.
fn saying(text: &str) -> String {
    format!("def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{text}']\n")
}

fn watch(pipeline: &str, files: &[(&str, &str)]) -> Program {
    let folder = folder_of(files);
    fs::write(folder.path().join("pipeline.json"), pipeline).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "--watch"]);
    Program::spawn(command, folder)
}

/// Saves as editors do: another file takes the place of the one before.
fn save(program: &Program, name: &str, text: &str) {
    let path = program.folder().join(name);
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, &path).unwrap();
}

/// Asks until the answer is as wanted.
fn ask_until(program: &Program, wanted: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let answer = program.get("/");
        if wanted(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "the last answer was\n{answer}\nand the log is\n{}", program.log());
        std::thread::yield_now();
    }
}

fn ask_until_it_says(program: &Program, text: &str) -> String {
    ask_until(program, |answer| answer.contains(text))
}

#[test]
fn the_next_requests_see_a_change_of_the_app() {
    let mut program = watch(PIPELINE, &[("code/mysite.py", &saying("one"))]);
    program.wait_for_log("watching 2 folders");
    assert!(program.get("/").ends_with("one"));
    // Of the same size and within the same second: what Python has compiled would pass for new.
    for text in ["two", "six", "ten"] {
        save(&program, "code/mysite.py", &saying(text));
        ask_until(&program, |answer| answer.ends_with(text));
    }
    assert!(program.log().contains("changed: code/mysite.py; reloading"), "{}", program.log());
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn a_change_of_a_python_layer_is_seen() {
    let layer = |text: &str| format!("def over(app):\n    return lambda environ, start: [*app(environ, start), b'{text}']\n");
    let program = watch(
        r#"{
            "listen": "127.0.0.1:0",
            "layers": ["request_id", { "wsgi": { "middleware": "doors:over", "path": "lib" } }],
            "app": { "wsgi": { "app": "mysite:app", "workers": 1, "path": "code" } }
        }"#,
        &[("code/mysite.py", &saying("one")), ("lib/doors.py", &layer("door"))],
    );
    ask_until_it_says(&program, "onedoor");
    save(&program, "lib/doors.py", &layer("gate"));
    ask_until_it_says(&program, "onegate");
    save(&program, "code/mysite.py", &saying("two"));
    ask_until_it_says(&program, "twogate");
}

#[test]
fn a_syntax_error_is_shown_until_it_is_fixed() {
    let program = watch(PIPELINE, &[("code/mysite.py", &saying("one"))]);
    fs::write(program.folder().join("code/mysite.py"), "import os\n\ndef app(environ, start_response:\n    return [b'<b>']\n").unwrap();
    let answer = ask_until_it_says(&program, "500 Internal Server Error");
    for part in ["code/mysite.py", "line 3", "SyntaxError", "pipeline.json:1:", "no-store", "text/plain"] {
        assert!(answer.to_lowercase().contains(&part.to_lowercase()), "{part}: {answer}");
    }
    let page = program.exchange("GET / HTTP/1.1\r\nHost: test\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n");
    assert!(page.contains("text/html") && page.contains("<meta http-equiv=\"refresh\"") && page.contains("SyntaxError"), "{page}");
    save(&program, "code/mysite.py", &saying("sound"));
    assert!(ask_until(&program, |answer| answer.ends_with("sound")).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_broken_file_is_shown_until_it_is_fixed() {
    let respond = |text: &str| format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "respond": {{ "status": 200, "body": "{text}" }} }} }}"#);
    let program = watch(&respond("one"), &[]);
    assert!(program.get("/").ends_with("one"));
    save(&program, "pipeline.json", "{ \"listen\": \"127.0.0.1:0\",\n  \"app\": { \"respnd\": 200 } }\n");
    let answer = ask_until_it_says(&program, "500 Internal Server Error");
    assert!(answer.contains("pipeline.json:2:") && answer.contains("did you mean `respond`"), "{answer}");
    save(&program, "pipeline.json", "{");
    ask_until(&program, |answer| answer.contains("500 Internal") && !answer.contains("respnd"));
    save(&program, "pipeline.json", &respond("two"));
    assert!(ask_until(&program, |answer| answer.ends_with("two")).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_start_that_fails_can_be_fixed_while_the_server_runs() {
    // The app's module is missing, and the file has a mistake beyond its `listen`.
    let mut program = watch(&PIPELINE.replace("\"app\": {", "\"layers\": [\"nothing\"], \"app\": {"), &[("code/other.py", "")]);
    assert!(program.get("/").contains("unknown layer `nothing`"));
    program.wait_for_log("every response shows this until it is fixed");
    save(&program, "pipeline.json", PIPELINE);
    ask_until_it_says(&program, "there is no module `mysite`");
    save(&program, "code/mysite.py", &saying("there"));
    assert!(ask_until(&program, |answer| answer.ends_with("there")).contains("200 OK"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn modules_in_packages_old_and_new_are_watched() {
    let app = "from pkg.sub.words import WORD\n".to_owned() + &saying("x").replace("b'x'", "WORD");
    let files = [("code/mysite.py", app.as_str()), ("code/pkg/sub/__init__.py", ""), ("code/pkg/sub/words.py", "WORD = b'one'\n")];
    let program = watch(PIPELINE, &files);
    save(&program, "code/pkg/sub/words.py", "WORD = b'two'\n");
    ask_until(&program, |answer| answer.ends_with("two"));
    // A package that comes as a whole, as a checkout brings it.
    fs::create_dir(program.folder().join("made")).unwrap();
    fs::write(program.folder().join("made/words.py"), "WORD = b'new'\n").unwrap();
    fs::rename(program.folder().join("made"), program.folder().join("code/pkg/fresh")).unwrap();
    save(&program, "code/mysite.py", &app.replace("pkg.sub", "pkg.fresh"));
    ask_until(&program, |answer| answer.ends_with("new"));
    save(&program, "code/pkg/fresh/words.py", "WORD = b'newer'\n");
    ask_until(&program, |answer| answer.ends_with("newer"));
}

#[test]
fn what_is_no_code_of_the_site_reloads_nothing() {
    let files = [
        ("code/mysite.py", saying("one")),
        ("code/pkg/__pycache__/x.py", String::new()),
        ("code/.git/hook.py", String::new()),
        ("code/node_modules/x/gyp.py", String::new()),
        ("code/env/pyvenv.cfg", String::new()),
        ("code/env/lib/x.py", String::new()),
        ("code/data.json", String::new()),
        ("outside.py", String::new()),
    ];
    let program = watch(PIPELINE, &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    for (name, _) in &files[1..] {
        save(&program, name, "changed");
    }
    assert!(program.get("/").ends_with("one"));
    save(&program, "code/mysite.py", &saying("two"));
    ask_until(&program, |answer| answer.ends_with("two"));
    let log = program.log();
    let told: Vec<&str> = log.lines().filter(|line| line.starts_with("changed:")).collect();
    assert_eq!(told, ["changed: code/mysite.py; reloading"], "{log}");
}

#[test]
fn a_secret_in_a_file_is_watched_and_never_shown() {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "respond": { "status": 200, "body": "${file:secrets/word}" } } }"#;
    let program = watch(pipeline, &[("secrets/word", "first-word")]);
    assert!(program.get("/").ends_with("first-word"));
    save(&program, "secrets/word", "second-word");
    ask_until(&program, |answer| answer.ends_with("second-word"));
    assert!(!program.log().contains("second-word"));
}

#[test]
fn an_endless_answer_holds_up_no_reload_and_no_end() {
    let endless = "def app(environ, start_response):\n    start_response('200 OK', [])\n    while True:\n        yield b'x' * 1000\n";
    let mut program = watch(PIPELINE, &[("code/mysite.py", endless)]);
    let mut stream = program.connect();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 100]).unwrap();
    save(&program, "code/mysite.py", &saying("after"));
    program.wait_for_log("reloaded after");
    assert!(program.get("/").ends_with("after"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn an_app_named_on_the_command_line_is_watched_too() {
    let folder = folder_of(&[("mysite.py", &saying("one"))]);
    let mut command = command(folder.path());
    command.args(["--watch", "--listen", "127.0.0.1:0", "mysite:app"]);
    let program = Program::spawn(command, folder);
    save(&program, "mysite.py", &saying("two"));
    ask_until(&program, |answer| answer.ends_with("two"));
}

#[test]
fn an_app_of_the_servers_own_process_gets_a_worker_so_that_it_can_change() {
    let pipeline = PIPELINE.replace("\"workers\": 1", "\"workers\": 0");
    let mut program = watch(&pipeline, &[("code/mysite.py", &saying("one"))]);
    program.wait_for_log("with `--watch` it has one worker");
    assert!(program.get("/").ends_with("one"));
    save(&program, "code/mysite.py", &saying("two"));
    ask_until(&program, |answer| answer.ends_with("two"));
}

#[test]
fn the_next_requests_see_a_change_of_a_template() {
    let app = "import os
PAGE = open(os.path.join(os.path.dirname(__file__), 'templates', 'home.html'), 'rb').read()
def app(environ, start_response):
    start_response('200 OK', [])
    return [PAGE]
";
    let program = watch(PIPELINE, &[("code/mysite.py", app), ("code/templates/home.html", "one")]);
    ask_until(&program, |answer| answer.ends_with("one"));
    save(&program, "code/templates/home.html", "two");
    ask_until(&program, |answer| answer.ends_with("two"));
}

#[test]
fn an_app_that_holds_a_lock_is_reloaded_after_each_change() {
    let app =
        |text: &str| format!("import fcntl\nLOCK = open('lock', 'w')\nfcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)\n{}", saying(text));
    let program = watch(PIPELINE, &[("code/mysite.py", &app("one"))]);
    for text in ["two", "three", "four"] {
        save(&program, "code/mysite.py", &app(text));
        ask_until(&program, |answer| answer.ends_with(text));
    }
    assert!(!program.log().contains("BlockingIOError"), "{}", program.log());
}
