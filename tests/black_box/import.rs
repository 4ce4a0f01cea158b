//! `ziggurat import`: configurations of other servers in `tests/import`, each against a snapshot of its pipeline file and its report.
//!
//! A case is a file, or a folder with a `Procfile` and what it names. A `.command` holds a command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use ziggurat::pipeline::Pipeline;

use crate::support::{Program, command, folder_of};

const SNAPSHOTS: &str = "snapshots";

fn text_of(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(kind);
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| !path.ends_with(SNAPSHOTS));
    cases.sort();
    cases
}

/// Imports a case in its folder, so that messages have no other path.
fn import(case: &Path, arguments: &[&str]) -> Output {
    let mut command = command(case.parent().unwrap());
    command.arg("import").args(arguments);
    if case.extension().is_some_and(|extension| extension == "command") {
        command.args(["--command", fs::read_to_string(case).unwrap().trim()]);
    } else if case.is_dir() {
        command.arg(Path::new(case.file_name().unwrap()).join("Procfile"));
    } else {
        command.arg(case.file_name().unwrap());
    }
    command.output().unwrap()
}

/// Every case of a kind is imported as its snapshot shows, and the result is a pipeline file that `check` accepts.
fn every_case_is_as_its_snapshot(kind: &str, fewest: usize) {
    let cases = cases(kind);
    assert!(cases.len() >= fewest, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(kind).join(SNAPSHOTS));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let output = import(&case, &[]);
        let (pipeline, report) = (text_of(&output.stdout), text_of(&output.stderr));
        if !pipeline.is_empty() {
            assert_eq!(output.status.code(), Some(0), "{name}: {report}");
            let set = |_: &str| Some("7".into());
            let checked = Pipeline::from_text("pipeline.json", &pipeline, Path::new(""), &ziggurat::builtin(), &set);
            assert!(checked.is_ok(), "{name}: {}", checked.unwrap_err());
        }
        let code = output.status.code().map(|code| code.to_string()).unwrap_or_default();
        settings.bind(|| insta::assert_snapshot!(name, format!("{pipeline}--- exit code {code}\n{report}")));
    }
}

#[test]
fn every_configuration_of_gunicorn_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("gunicorn", 25);
}

#[test]
fn every_configuration_of_unit_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("unit", 25);
}

#[test]
fn every_configuration_of_uwsgi_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("uwsgi", 25);
}

#[test]
fn a_pipeline_is_written_to_a_new_file_only_and_its_report_is_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.json");
    let written = ["--report", "json", "--output", file.to_str().unwrap()];
    let case = cases("gunicorn").into_iter().find(|case| case.ends_with("netbox.conf.py")).unwrap();
    let output = import(&case, &written);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    assert_eq!(text_of(&output.stdout), "");
    assert!(fs::read_to_string(&file).unwrap().contains("netbox.wsgi:application"));
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let workers = report.as_array().unwrap().iter().find(|remark| remark["setting"] == "workers = 5").unwrap();
    assert_eq!((&workers["treatment"], &workers["file"], &workers["line"]), (&"taken".into(), &"netbox.conf.py".into(), &6.into()));
    let again = import(&case, &written);
    assert_eq!(again.status.code(), Some(2));
    assert!(text_of(&again.stderr).contains("already exists"), "{}", text_of(&again.stderr));
}

/// Says what it was called with, and imports a module of another folder.
const APP: &str = "import os\nimport helper\n\ndef app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
    return [f\"{helper.NAME} {environ['PATH_INFO']} A={os.environ['A']} {environ['wsgi.multithread']}\".encode()]\n";

#[test]
fn what_is_imported_is_served() {
    let gunicorn = "host = '127.0.0.1'\nbind = f'{host}:0'\nworkers = 1\nthreads = 1 + 1\npythonpath = 'lib'\nraw_env = ['A=b c']\nwsgi_app = 'app:app'\n";
    let uwsgi = "[uwsgi]\nname = lib\nhttp-socket = 127.0.0.1:0\nwsgi-file = %dapp.py\ncallable = app\npythonpath = %(name)\nenv = A=b c\nthreads = 2 ; two\n";
    let unit = r#"{ "listeners": { "127.0.0.1:0": { "pass": "routes" } }, "routes": [{ "action": { "pass": "applications/a" } }], "applications": {
        "a": { "type": "python", "path": [".", "lib"], "module": "app", "callable": "app", "threads": 2, "environment": { "A": "b c" } } } }"#;
    for (file, text) in [("gunicorn.conf.py", gunicorn), ("uwsgi.ini", uwsgi), ("unit.json", unit)] {
        let folder = folder_of(&[("app.py", APP), ("lib/helper.py", "NAME = 'helper'\n"), (file, text)]);
        let imported = command(folder.path()).args(["import", file, "-o", "pipeline.json"]).output().unwrap();
        assert_eq!(imported.status.code(), Some(0), "{file}: {}", text_of(&imported.stderr));
        let mut run = command(folder.path());
        run.arg("run");
        let page = Program::spawn(run, folder).get("/x");
        assert!(page.contains("helper /x A=b c True"), "{file}: {page}");
    }
}

#[test]
fn a_file_that_cannot_be_imported_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large.sh"), " ".repeat((1 << 20) + 1)).unwrap();
    fs::write(folder.path().join("latin.sh"), b"gunicorn caf\xe9:app").unwrap();
    fs::write(folder.path().join("notes.txt"), "gunicorn a:app").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (name, expected) in [
        ("missing", "cannot read"),
        ("large.sh", "larger than 1 MiB"),
        ("latin.sh", "not UTF-8"),
        ("notes.txt", "`--command`"),
        ("folder", "is a folder"),
    ] {
        let output = command(folder.path()).args(["import", name]).output().unwrap();
        let message = text_of(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(expected), "{name}: {message}");
    }
}
