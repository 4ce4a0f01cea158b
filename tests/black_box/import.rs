//! `ziggurat import`: configurations of other servers in `tests/import`, each against a snapshot of its pipeline file and its report.
//!
//! A case is a file, or a folder with a `Procfile` and what it names. A `.command` holds a command line; an `.inc` belongs to another file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use ziggurat::pipeline::Pipeline;

use crate::example::{copy, repository};
use crate::support::{Program, command, folder_of};

const SNAPSHOTS: &str = "snapshots";

fn text_of(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn root(kind: &str) -> PathBuf {
    repository().join("tests/import").join(kind)
}

fn cases(kind: &str) -> Vec<PathBuf> {
    cases_in(&root(kind))
}

fn cases_in(root: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| !path.ends_with(SNAPSHOTS) && path.extension().is_none_or(|extension| extension != "inc"));
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
    // Long lines are broken, so the length of the path of a case must not depend on the machine.
    let folder = tempfile::Builder::new().prefix("import").tempdir_in("/tmp").unwrap();
    copy(&root(kind), folder.path());
    let cases = cases_in(folder.path());
    assert!(cases.len() >= fewest, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root(kind).join(SNAPSHOTS));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let output = import(&case, &[]);
        // `here` of Paste Deploy is an absolute path.
        let here = case.parent().unwrap().display().to_string();
        let (pipeline, report) = (text_of(&output.stdout).replace(&here, "/srv"), text_of(&output.stderr).replace(&here, "/srv"));
        if !pipeline.is_empty() {
            assert_eq!(output.status.code(), Some(0), "{name}: {report}");
            // Numbers do for everything but addresses, and the names of cases say which those are.
            let set = |name: &str| match name {
                "BIND" => Some("127.0.0.1:5".into()),
                "SOCKET" => Some("127.0.0.1:6".into()),
                "OTHER_PORT" => Some("9".into()),
                "HOST" | "PROXY" => Some("127.0.0.1".into()),
                "APP_MODULE" => Some("shop.wsgi:application".into()),
                "WITH_DEFAULT" => None,
                _ => Some("7".into()),
            };
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
fn every_configuration_of_paste_deploy_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("pastedeploy", 25);
}

#[test]
fn every_configuration_of_unit_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("unit", 25);
}

#[test]
fn every_configuration_of_uwsgi_is_imported_as_its_snapshot_shows() {
    every_case_is_as_its_snapshot("uwsgi", 25);
}

/// The lines of a file that say something; what belongs to the line above is left out.
fn telling_lines(name: &str, text: &str) -> Vec<usize> {
    let is_python = name.ends_with(".py");
    let (is_xml, is_yaml) = (name.ends_with(".xml"), name.ends_with(".yaml") || name.ends_with(".yml"));
    let is_paste = ["[app:", "[pipeline:", "[composite:", "[filter-app:"].iter().any(|section| text.contains(section));
    let mut telling = Vec::new();
    // Of brackets in Python; whether the line above continues.
    let (mut depth, mut continues) = (0_i64, false);
    for (at, line) in text.lines().enumerate() {
        let is_inner = line.starts_with([' ', '\t']);
        let line = line.trim();
        let goes_on = continues || depth > 0;
        continues = line.ends_with('\\') || (continues && line.starts_with(['#', ';']));
        if is_python {
            depth += line.matches(['(', '[', '{']).count() as i64 - line.matches([')', ']', '}']).count() as i64;
        }
        let is_comment = line.is_empty() || line.starts_with('#') || (line.starts_with(';') && !is_python) || line.starts_with("//");
        let is_frame = match () {
            () if is_python => {
                ["import ", "from ", "\"", "'", "else", "elif ", "except", "finally"].iter().any(|word| line.starts_with(word)) || is_inner
            }
            () if is_xml => ["<?", "<!", "</"].iter().any(|tag| line.starts_with(tag)) || !(line.contains("</") || line.contains("/>")),
            () if is_yaml => line == "---" || line == "uwsgi:" || line.ends_with(':'),
            () if is_paste => is_inner || line == "[DEFAULT]",
            () => line.starts_with('[') && line.ends_with(']'),
        };
        if !goes_on && !is_comment && !is_frame {
            telling.push(at + 1);
        }
    }
    telling
}

#[test]
fn every_line_of_a_configuration_is_in_its_report() {
    for kind in ["gunicorn", "pastedeploy", "uwsgi"] {
        for case in cases(kind).into_iter().filter(|case| case.extension().is_none_or(|extension| extension != "command")) {
            let output = import(&case, &["--report", "json"]);
            let Ok(report) = serde_json::from_slice::<serde_json::Value>(&output.stderr) else { continue };
            let report: Vec<(&str, u64)> =
                report.as_array().unwrap().iter().filter_map(|remark| Some((remark["file"].as_str()?, remark["line"].as_u64()?))).collect();
            let mut files: Vec<&str> = report.iter().map(|(file, _)| *file).collect();
            files.sort_unstable();
            files.dedup();
            assert!(!files.is_empty(), "{}", case.display());
            for file in files {
                let text = fs::read_to_string(case.parent().unwrap().join(file)).unwrap();
                for line in telling_lines(file, &text) {
                    let said = text.lines().nth(line - 1).unwrap();
                    assert!(
                        report.contains(&(file, line as u64)),
                        "{}: nothing is said about line {line} of {file}: {said}",
                        case.display()
                    );
                }
            }
        }
    }
}

/// The lines of settings that no remark is about: itself, or an object or a list around it.
fn unsaid(value: &ast::Value<'_>, key: &str, text: &str, remarks: &[(usize, String)], lines: &mut Vec<usize>) {
    let line = text[..value.range().start].matches('\n').count() + 1;
    let mut here = remarks.iter().filter(|(at, _)| *at == line).map(|(_, setting)| setting);
    match value {
        ast::Value::Object(_) | ast::Value::Array(_)
            if here.any(|setting| {
                setting.starts_with('{') || setting.contains(&format!("{key} = ")) || setting.ends_with(&format!("/{key}"))
            }) => {}
        ast::Value::Object(object) => {
            object.properties.iter().for_each(|entry| unsaid(&entry.value, entry.name.as_str(), text, remarks, lines))
        }
        ast::Value::Array(list) => list.elements.iter().for_each(|item| unsaid(item, key, text, remarks, lines)),
        _ if here.next().is_some() => {}
        _ => lines.push(line),
    }
}

#[test]
fn every_setting_of_a_configuration_of_unit_is_in_its_report() {
    for case in cases("unit") {
        let output = import(&case, &["--report", "json"]);
        let Ok(report) = serde_json::from_slice::<serde_json::Value>(&output.stderr) else { continue };
        let remark =
            |remark: &serde_json::Value| Some((usize::try_from(remark["line"].as_u64()?).unwrap(), remark["setting"].as_str()?.to_owned()));
        let remarks: Vec<(usize, String)> = report.as_array().unwrap().iter().filter_map(remark).collect();
        let text = fs::read_to_string(&case).unwrap();
        let parsed =
            parse_to_ast(&text, &CollectOptions::default(), &ParseOptions { allow_comments: true, ..ParseOptions::default() }).unwrap();
        let mut lines = Vec::new();
        unsaid(&parsed.value.unwrap(), "", &text, &remarks, &mut lines);
        let said = |line: usize| text.lines().nth(line - 1).unwrap();
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{line}: {}", said(line))).collect();
        assert!(lines.is_empty(), "{}: nothing is said about\n{}", case.display(), lines.join("\n"));
    }
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
    let of_folder = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nwsgi-file = lib/place.py\ncallable = app\nenv = A=b c\nthreads = 2\n";
    let elsewhere = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nchdir = work\nwsgi-file = place.py\ncallable = app\npythonpath = lib\nenv = A=b c\nthreads = 2\n";
    let beside = "bind = '127.0.0.1:0'\nthreads = 2\nchdir = 'work'\npythonpath = 'lib'\nraw_env = ['A=b c']\nwsgi_app = 'app:app'\n";
    const HELPER: &str = "NAME = 'helper'\n";
    for (file, text, app, helper) in [
        ("gunicorn.conf.py", gunicorn, "app.py", "lib/helper.py"),
        ("uwsgi.ini", uwsgi, "app.py", "lib/helper.py"),
        ("unit.json", unit, "app.py", "lib/helper.py"),
        ("uwsgi.ini", of_folder, "lib/place.py", "helper.py"),
        ("uwsgi.ini", elsewhere, "work/place.py", "work/lib/helper.py"),
        ("gunicorn.conf.py", beside, "app.py", "work/lib/helper.py"),
    ] {
        let folder = folder_of(&[(app, APP), (helper, HELPER), (file, text)]);
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

#[test]
fn no_code_of_a_configuration_is_run() {
    let conf = "import os, pathlib\npathlib.Path('run').touch()\nos.system('touch run')\nworkers = [open('run', 'w').close(), 2][1]\nbind = __import__('os').popen('touch run').read() or ':1'\nwsgi_app = 'app:app'\n";
    let ini = "[uwsgi]\nmodule = app:app\nexec-asap = touch run\nprocesses = @(exec://touch run)\n";
    let paste = "[app:main]\nuse = call:app:run\n[server:main]\nuse = call:app:run\n";
    let files = [
        ("gunicorn.conf.py", conf),
        ("uwsgi.ini", ini),
        ("site.ini", paste),
        ("Procfile", "web: gunicorn -w $(touch run) `touch run` app:app\n"),
    ];
    for (name, text) in files {
        let folder = folder_of(&[(name, text), ("app.py", "open('run', 'w').close()\n")]);
        let output = command(folder.path()).args(["import", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text_of(&output.stderr));
        assert!(!folder.path().join("run").exists(), "{name}");
    }
}
