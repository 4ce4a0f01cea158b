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
        let seen = refusal(&case).unwrap_or_else(|| panic!("`{name}` is accepted"));
        settings.bind(|| insta::assert_snapshot!(name, seen));
    }
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
    match pipeline.build(&Lifecycle::default()) {
        Ok(_) => Some(pipeline.warnings().clone()).filter(|warnings| !warnings.is_empty()),
        Err(report) => Some(report),
    }
}

fn pipeline_of(case: &Path) -> PathBuf {
    if case.is_dir() { case.join("pipeline.json") } else { case.to_path_buf() }
}
