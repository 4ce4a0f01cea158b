//! What a user sees for a broken file: every file in `tests/pipeline_errors/` against its snapshot.
//!
//! A case is a file `NAME.json` or `NAME.jsonc`, or a folder with a `pipeline.json` and what else it needs. A file `env` beside the pipeline in such a
//! folder holds lines `NAME=value`; a variable whose name begins with `SECRET` must never be shown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ziggurat::pipeline::{Pipeline, Report};
use ziggurat_middleware::Lifecycle;

#[test]
fn every_broken_file_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline_errors");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "json" || extension == "jsonc"));
    cases.retain(|path| !path.ends_with("snapshots"));
    cases.sort();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for case in cases {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let seen = refusal(&case).unwrap_or_else(|| panic!("`{name}` is accepted")).replace(&python(), "[the environment]");
        settings.bind(|| insta::assert_snapshot!(name, seen));
    }
}

/// How messages call the Python that runs the tests.
fn python() -> String {
    match std::env::var("VIRTUAL_ENV") {
        Ok(folder) if !folder.is_empty() => format!("the virtual environment `{folder}`"),
        _ => "the system's Python (no virtual environment is active)".to_owned(),
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("large.json"), " ".repeat((1 << 20) + 1)).unwrap();
    let mut seen = String::new();
    for name in ["missing.json", "folder", "large.json"] {
        let report = Pipeline::load(&folder.path().join(name), &ziggurat::builtin(), &|_| None).unwrap_err();
        seen.push_str(&report.render(false).replace(&format!("{}/", folder.path().display()), ""));
    }
    insta::assert_snapshot!(seen, @r#"
    error: cannot read `missing.json`: no such file or directory
    error: `folder` is a folder
    hint: name the file in it, for instance `pipeline.json`
    error: `large.json` is larger than 1 MiB, the limit of a pipeline file
    "#);
}

#[test]
fn editors_get_records() {
    let text = "{\n  \"layers\": [\"compres\"],\n  \"app\": { \"respond\": { \"body\": \"é\", \"stauts\": 204 } }\n}\n";
    let report = Pipeline::from_text("site.json", text, Path::new(""), &ziggurat::builtin(), &|_| None).unwrap_err();
    insta::assert_snapshot!(format!("{:#}", report.to_json()), @r#"
    [
      {
        "id": "unknown-layer",
        "severity": "error",
        "message": "unknown layer `compres`",
        "file": "site.json",
        "line": 2,
        "column": 14,
        "end": {
          "line": 2,
          "column": 23
        },
        "label": "no layer has this name",
        "related": null,
        "hint": "did you mean `compress`? `ziggurat layers` lists them all",
        "note": null
      },
      {
        "id": "unknown-option",
        "severity": "error",
        "message": "unknown option `stauts` for app `respond`",
        "file": "site.json",
        "line": 3,
        "column": 38,
        "end": {
          "line": 3,
          "column": 46
        },
        "label": "not an option of `respond`",
        "related": null,
        "hint": "did you mean `status`? Options are `status`, `body`, `headers`",
        "note": null
      }
    ]
    "#);
}

#[test]
fn an_address_that_cannot_be_bound_is_pointed_at() {
    let text = "{\n  \"listen\": [\":8000\", { \"at\": \"unix:run/x.sock\" }],\n  \"app\": { \"respond\": 204 }\n}\n";
    let pipeline = Pipeline::from_text("site.json", text, Path::new(""), &ziggurat::builtin(), &|_| None).unwrap();
    let report = pipeline.report_at_listen(1, "cannot listen on `unix:run/x.sock`: address in use\nhint: stop the other server");
    insta::assert_snapshot!(report.render(false), @r#"
    error: cannot listen on `unix:run/x.sock`: address in use
     --> site.json:2:31
      |
    2 |   "listen": [":8000", { "at": "unix:run/x.sock" }],
      |                               ^^^^^^^^^^^^^^^^^ asked for here
      |
    hint: stop the other server
    "#);
}

#[test]
fn a_pipeline_made_up_on_the_command_line_is_shown_where_it_is_wrong() {
    let report = Pipeline::for_wsgi("site:app\"", "80", Path::new(""), &ziggurat::builtin()).unwrap_err();
    insta::assert_snapshot!(report.render(false), @r#"
    error: `80` is only a port
     --> (command line):2:13
      |
    2 |   "listen": "80",
      |             ^^^^ `listen`
      |
    hint: write `"127.0.0.1:80"`, or `":80"` for every interface

    error: `app"` does not name a callable of `site`
     --> (command line):4:20
      |
    4 |   "app": { "wsgi": "site:app\"" }
      |                    ^^^^^^^^^^^^ option `app` of app `wsgi`
      |
    hint: write `module:callable`, as in `mysite.wsgi:application`
    "#);
}

/// What the user sees, or `None` if nothing is wrong.
fn refusal(case: &Path) -> Option<String> {
    let file = pipeline_of(case);
    let variables: Vec<(String, String)> = match fs::read_to_string(case.join("env")) {
        Ok(lines) => {
            lines.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        Err(_) => Vec::new(),
    };
    let environment = |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| OsString::from(value));
    let report = outcome(&file, &environment)?;
    let folder = format!("{}/", file.parent().unwrap().display());
    let seen = report.render(false).replace(&folder, "").replace(folder.trim_end_matches('/'), ".");
    let record = report.to_json().to_string();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("SECRET")) {
        assert!(!seen.contains(value.as_str()) && !record.contains(value.as_str()), "{}: `{name}` is shown:\n{seen}", file.display());
    }
    Some(seen)
}

fn outcome(file: &Path, environment: &dyn Fn(&str) -> Option<OsString>) -> Option<Report> {
    let pipeline = match Pipeline::load(file, &ziggurat::builtin(), environment) {
        Ok(pipeline) => pipeline,
        Err(report) => return Some(report),
    };
    let lifecycle = Lifecycle::default();
    match pipeline.build(&lifecycle).and_then(|_| pipeline.listeners(&lifecycle)) {
        Ok(_) => Some(pipeline.warnings().clone()).filter(|warnings| !warnings.is_empty()),
        Err(report) => Some(report),
    }
}

fn pipeline_of(case: &Path) -> PathBuf {
    if case.is_dir() { case.join("pipeline.json") } else { case.to_path_buf() }
}
