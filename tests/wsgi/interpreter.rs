//! How Python starts and ends inside the program. Each case needs a process of its own: this test program, run once more with the child's part.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use ziggurat::wsgi::{finalize, initialize};

use crate::support::{Executor, PATIENCE, Site};

/// What the child does; nothing in a process that is no child.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(part) = std::env::var_os("ZIGGURAT_CHILD") else { return };
    if let Err(finding) = initialize() {
        eprintln!("refused: {finding}");
        return;
    }
    let site = Site::new(part.to_str().unwrap(), Executor::Pool(2));
    eprintln!("answered: {}", site.get("/").await.text());
    site.shutdown();
    drop(site);
    finalize();
    finalize();
    eprintln!("ended");
}

fn run_child(part: &str, environment: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["interpreter::child", "--exact", "--nocapture"]);
    let Output { stdout, stderr, .. } =
        command.env("ZIGGURAT_CHILD", part).env("VIRTUAL_ENV", environment).env_remove("PYTHONUNBUFFERED").output().unwrap();
    [stdout, stderr].iter().map(|text| String::from_utf8_lossy(text)).collect()
}

/// A virtual environment in name, for this version of Python.
fn environment(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pyvenv.cfg"), config).unwrap();
    folder
}

fn real_environment() -> std::path::PathBuf {
    std::env::var_os("VIRTUAL_ENV").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv"), Into::into)
}

#[test]
fn the_virtual_environment_is_entered() {
    let said = run_child("plain:interpreter", &real_environment());
    let prefix = format!("answered: {} ", real_environment().display());
    assert!(said.contains(&prefix) && said.contains("signals: default"), "{said}");
}

#[test]
fn an_environment_of_another_version_or_none_is_refused() {
    let said = run_child("plain:hello", environment("home = /nowhere\nversion = 3.8.1\n").path());
    assert!(said.contains("is for Python 3.8; this program is linked to Python 3."), "{said}");
    let said = run_child("plain:hello", tempfile::tempdir().unwrap().path());
    assert!(said.contains("is no virtual environment"), "{said}");
}

#[test]
fn exit_hooks_run_and_printed_text_is_written_at_the_end() {
    let said = run_child("leaves:app", &real_environment());
    for text in ["printed without a line end", "exit hook", "ended"] {
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn a_thread_of_the_app_that_does_not_end_does_not_hold_up_the_end() {
    let began = Instant::now();
    let said = run_child("leaves:stuck", &real_environment());
    assert!(said.contains("exit hook") && said.contains("ended"), "{said}");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_call_that_does_not_end_does_not_hold_up_the_end() {
    let said = run_child("leaves:never", &real_environment());
    assert!(said.contains("exit hook") && said.contains("ended"), "{said}");
}
