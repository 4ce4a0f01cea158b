//! A folder in which an author works at a shell, with `ziggurat` and `cargo` at hand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::{Program, virtual_env};

/// Builds into this workspace's target folder, so that no dependency is compiled twice that is compiled alike.
const CARGO_CONFIG: &str = r#"
[build]
target-dir = "TARGET"
[term]
color = "never"
"#;

/// A folder, empty at first. It is always the same one for a test, for cargo keeps what it builds by the path of the sources.
pub(crate) struct Workshop {
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// One works at a time: they share cargo's target folder, and a program that waits for it looks like one that does not start.
static TURN: Mutex<()> = Mutex::new(());

impl Workshop {
    pub(crate) fn new(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        let ziggurat = Path::new(env!("CARGO_BIN_EXE_ziggurat"));
        let target = ziggurat.ancestors().nth(2).unwrap().to_str().unwrap();
        fs::create_dir_all(folder.join(".cargo")).unwrap();
        let config = CARGO_CONFIG.replace("TARGET", target) + &profile();
        fs::write(folder.join(".cargo/config.toml"), config).unwrap();
        fs::create_dir(folder.join("bin")).unwrap();
        symlink(ziggurat, folder.join("bin/ziggurat")).unwrap();
        Self { folder, _turn: turn }
    }

    /// A path in here.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// A line for the shell, to be run in `folder`.
    fn command(&self, folder: &Path, line: &str) -> Command {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.path(folder)).env("PATH", path).env("VIRTUAL_ENV", virtual_env());
        // cargo names its folders here for those that it runs; an author's shell does not.
        command.env("NO_COLOR", "1").env("PORT", "0").env_remove("LD_LIBRARY_PATH").env_remove("PYTHONPATH");
        command
    }

    /// Runs a line to its end: whether it succeeded, and what it printed, without what cargo tells of its own work.
    pub(crate) fn run(&self, folder: impl AsRef<Path>, line: &str) -> (bool, String) {
        let output = self.command(folder.as_ref(), line).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        self.lend_lock();
        (output.status.success(), without_cargo(&text))
    }

    /// Runs a line that has to succeed.
    pub(crate) fn must_run(&self, folder: impl AsRef<Path>, line: &str) -> String {
        let (success, text) = self.run(folder, line);
        assert!(success, "{line}:\n{text}");
        text
    }

    /// Runs a line that serves, until it is dropped.
    pub(crate) fn serve(&self, folder: impl AsRef<Path>, line: &str) -> Program {
        if line.starts_with("cargo run") {
            // So that it starts at once.
            self.must_run(&folder, "cargo build");
        }
        Program::spawn(self.command(folder.as_ref(), &format!("exec {line}")), tempfile::tempdir().unwrap())
    }

    /// Has new crates take the versions of this workspace, which are compiled already.
    fn lend_lock(&self) {
        for entry in fs::read_dir(&self.folder).unwrap() {
            let lock = entry.unwrap().path().join("Cargo.lock");
            if lock.with_extension("toml").is_file() && !lock.is_file() {
                fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), lock).unwrap();
            }
        }
    }
}

/// The settings of single packages in this workspace's manifest: with others, they would be compiled anew.
fn profile() -> String {
    let manifest = include_str!("../../Cargo.toml");
    let start = manifest.find("[profile.dev.package]").unwrap();
    manifest[start..].split("\n\n").next().unwrap().to_owned()
}

/// What a program printed, without what cargo tells of its own work before it.
pub(crate) fn without_cargo(text: &str) -> String {
    text.lines().filter(|line| !is_of_cargo(line)).map(|line| line.to_owned() + "\n").collect()
}

fn is_of_cargo(line: &str) -> bool {
    let line = line.trim_start();
    ["Adding", "Blocking", "Compiling", "Dirty", "Doc-tests", "Finished", "Locking", "Removing", "Running", "Updating"]
        .iter()
        .any(|word| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')))
}
