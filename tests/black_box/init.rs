//! `ziggurat init`: projects as people have them, and the pipeline files that it writes for them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{Program, command, folder_of, virtual_env};

const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n\n@app.route('/')\ndef page():\n    return 'a page of Flask'\n";
const PLAIN: &str =
    "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'plain']\n";

/// Has a pipeline file written for the project, checked, and served.
fn served(folder: TempDir, arguments: &[&str]) -> Program {
    let written = init(folder.path(), arguments);
    assert!(written.contains("wrote pipeline.json") && written.contains("ziggurat run"), "{written}");
    let checked = command(folder.path()).arg("check").output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{written}\n{}", text(&checked.stderr));
    // Other tests run beside this one.
    let file = folder.path().join("pipeline.json");
    let pipeline = fs::read_to_string(&file).unwrap();
    fs::write(file, pipeline.replace("127.0.0.1:8000", "127.0.0.1:0")).unwrap();
    let mut command = command(folder.path());
    command.arg("run");
    Program::spawn(command, folder)
}

fn init(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).arg("init").args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn get(program: &Program, target: &str) -> String {
    program.exchange(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The files of an example, without its pipeline file.
fn example(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    assert!(Command::new("cp").arg("-r").arg(from.join(".")).arg(folder.path()).status().unwrap().success());
    fs::remove_file(folder.path().join("pipeline.json")).unwrap();
    folder
}

#[test]
fn a_new_django_project_is_served() {
    for below in [".", "backend"] {
        let folder = folder_of(&[]);
        fs::create_dir_all(folder.path().join(below)).unwrap();
        let made = Command::new(virtual_env().join("bin/django-admin"))
            .args(["startproject", "mysite", below])
            .current_dir(folder.path())
            .output();
        assert!(made.unwrap().status.success());
        let program = served(folder, &[]);
        let page = get(&program, "/");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("The install worked successfully"), "{page}");
        assert!(page.contains("\r\nx-request-id: ") && page.contains("\r\nx-content-type-options: nosniff"), "{page}");
    }
}

#[test]
fn flask_webpy_and_plain_apps_are_served() {
    let program = served(example("flask"), &[]);
    assert!(get(&program, "/").contains("You have counted 0 texts."));
    assert!(get(&program, "/static/words.css").contains("\r\netag: "));

    let program = served(example("webpy"), &[]);
    assert!(get(&program, "/").starts_with("HTTP/1.1 200 "));
    assert!(get(&program, "/static/todo.css").contains("\r\netag: "));

    let package = [(
        "src/shop/__init__.py",
        "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n    app.add_url_rule('/', 'page', lambda: 'a page of the shop')\n    return app\n",
    )];
    assert!(get(&served(folder_of(&package), &[]), "/").ends_with("a page of the shop"));

    assert!(get(&served(folder_of(&[("hello.py", PLAIN)]), &[]), "/").ends_with("plain"));
}

#[test]
fn of_several_apps_one_has_to_be_named() {
    let folder = folder_of(&[("page.py", FLASK), ("hello.py", PLAIN)]);
    let output = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: there is more than one app in `.`:\n  hello:application  a plain WSGI app in hello.py\n  \
         page:app           a Flask app in page.py\nhint: choose one: `ziggurat init --app hello:application`\n"
    );
    assert!(!folder.path().join("pipeline.json").exists());
    assert!(get(&served(folder, &["--app", "page:app"]), "/").ends_with("a page of Flask"));
}

#[test]
fn where_there_is_no_app_nothing_is_written() {
    let folder = folder_of(&[("notes.txt", "")]);
    let output = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("hint: name it: `ziggurat init --app pkg.mod:callable`"));
    assert!(!folder.path().join("pipeline.json").exists());
    assert_eq!(run(folder.path(), &["nowhere"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["--app", "a.py"]).status.code(), Some(2));
}

#[test]
fn a_pipeline_file_that_is_there_is_left_alone() {
    let folder = folder_of(&[("hello.py", PLAIN), ("pipeline.json", "mine")]);
    let output = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "error: `pipeline.json` already exists\nhint: `ziggurat init --force` overwrites it\n");
    assert_eq!(fs::read_to_string(folder.path().join("pipeline.json")).unwrap(), "mine");
    init(folder.path(), &["--force"]);
    assert!(fs::read_to_string(folder.path().join("pipeline.json")).unwrap().contains("hello:application"));
}

#[test]
fn another_folder_can_be_named() {
    let folder = folder_of(&[("site/hello.py", PLAIN)]);
    let written = init(folder.path(), &["site"]);
    assert!(written.contains("wrote site/pipeline.json") && written.contains("ziggurat check site/pipeline.json"), "{written}");
}
