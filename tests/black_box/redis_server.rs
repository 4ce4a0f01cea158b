//! A Redis in a folder of its own, where `redis-server` is installed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running Redis on a Unix socket. Dropping it ends it.
pub(crate) struct Redis {
    child: Child,
    folder: tempfile::TempDir,
}

/// Nothing a test waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Redis {
    /// Starts it. `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = run(&folder)?;
        let redis = Self { child, folder };
        redis.wait();
        Some(redis)
    }

    /// Kills it, and starts one without its data and scripts on the same socket.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = run(&self.folder).unwrap();
        self.wait();
    }

    pub(crate) fn kill(&mut self) {
        // One that is stopped, too.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.arg("-s").arg(self.socket()).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn wait(&self) {
        let since = Instant::now();
        while self.ask(&["PING"]).is_empty() {
            assert!(since.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::yield_now();
        }
    }
}

fn run(folder: &tempfile::TempDir) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(folder.path().join("redis.sock"));
    command.arg("--dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
