//! Servers in Python with the app of the suite, and what the suite finds in them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support;

/// The app, as the program writes it.
pub(crate) fn app() -> String {
    let folder = tempfile::tempdir().unwrap();
    let written = support::command(folder.path()).args(["conform", "--write", "app.py"]).status().unwrap();
    assert!(written.success());
    std::fs::read_to_string(folder.path().join("app.py")).unwrap()
}

/// A server that runs until this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Served {
    /// A Python program that imports `app` and prints its port first.
    pub(crate) fn python(program: &str) -> Self {
        Self::python_with(program, &[])
    }

    /// As [`Served::python`], with arguments.
    pub(crate) fn python_with(program: &str, arguments: &[&str]) -> Self {
        let folder = support::folder_of(&[("app.py", &app()), ("served.py", program)]);
        let mut command = Command::new(support::virtual_env().join("bin/python"));
        command
            .current_dir(folder.path())
            .arg("served.py")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port but {line:?}"));
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The results of a run, by the ids of the cases.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) passed: BTreeSet<String>,
    pub(crate) failed: BTreeSet<String>,
    pub(crate) notices: BTreeSet<String>,
    pub(crate) skipped: BTreeSet<String>,
    json: Value,
}

impl Results {
    /// Everything that has not passed.
    pub(crate) fn found(&self) -> BTreeSet<String> {
        self.failed.union(&self.notices).cloned().collect()
    }

    /// The records of these cases, for people.
    pub(crate) fn text(&self, ids: &BTreeSet<String>) -> String {
        let cases = self.json["cases"].as_array().unwrap().iter();
        cases.filter(|case| ids.contains(case["id"].as_str().unwrap())).map(|case| format!("{case:#}\n")).collect()
    }
}

/// The command that runs the cases against a server.
pub(crate) fn command(address: SocketAddr, only: &[&str]) -> Command {
    let mut command = support::command(std::path::Path::new("."));
    command.args(["conform", "--against", &format!("http://{address}")]);
    only.iter().for_each(|name| {
        command.args(["--only", name]);
    });
    command
}

/// Runs the cases with these ids or of these topics, or all.
pub(crate) fn conform(address: SocketAddr, only: &[&str]) -> Results {
    results(command(address, only))
}

/// What this command finds.
pub(crate) fn results(mut command: Command) -> Results {
    let output = command.arg("--json").output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let mut results = Results::default();
    for case in json["cases"].as_array().unwrap() {
        let set = match case["result"].as_str().unwrap() {
            "ok" => &mut results.passed,
            "failed" => &mut results.failed,
            "notice" => &mut results.notices,
            _ => &mut results.skipped,
        };
        set.insert(case["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(output.status.code(), Some(i32::from(!results.failed.is_empty())), "{json:#}");
    results.json = json;
    results
}
