//! A Redis in a folder of its own, where `redis-server` is installed.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running Redis on a Unix socket. Dropping it ends it.
pub(crate) struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

/// Nothing a test waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Redis {
    /// Starts it. `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        match Self::start_with(Vec::new()) {
            Ok(redis) => Some(redis),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts it with these arguments, too. It is an error if it is not installed, or ends.
    pub(crate) fn start_with(arguments: Vec<String>) -> io::Result<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = run(&folder, &arguments)?;
        let mut redis = Self { child, folder, arguments };
        redis.wait()?;
        Ok(redis)
    }

    /// Kills it, and starts one without its data and scripts on the same socket.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = run(&self.folder, &self.arguments).unwrap();
        self.wait().unwrap();
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

    fn wait(&mut self) -> io::Result<()> {
        let since = Instant::now();
        while self.ask(&["PING"]).is_empty() {
            if self.child.try_wait()?.is_some() {
                return Err(io::Error::other("redis-server has ended"));
            }
            assert!(since.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn run(folder: &tempfile::TempDir, arguments: &[String]) -> io::Result<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(folder.path().join("redis.sock"));
    command.arg("--dir").arg(folder.path()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
