//! Starts the program on a pipeline file and speaks to it over real sockets.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Nothing a test waits for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running program in a folder of its own. Dropping it kills the program.
pub(crate) struct Program {
    child: Child,
    address: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
    lines: Receiver<String>,
    folder: tempfile::TempDir,
}

impl Program {
    /// Writes `files` into a fresh folder, runs `ziggurat run pipeline.json` there with `pipeline` as the file, and waits until it listens
    /// on all its addresses.
    pub(crate) fn start(pipeline: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(pipeline, files, &[])
    }

    /// As [`Program::start`], with variables in the environment.
    pub(crate) fn start_with(pipeline: &str, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let folder = folder_of(files);
        fs::write(folder.path().join("pipeline.json"), pipeline).unwrap();
        let mut command = command(folder.path());
        command.args(["run", "pipeline.json"]).envs(variables.iter().copied());
        Self::spawn(command, folder)
    }

    /// Runs a prepared command and waits until the program says that it is ready.
    pub(crate) fn spawn(mut command: Command, folder: tempfile::TempDir) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_input(command, folder)
    }

    /// As [`Program::spawn`], with the command's own standard input.
    pub(crate) fn spawn_with_input(mut command: Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        let pipes: [Box<dyn Read + Send>; 2] = [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let (log, sender) = (Arc::clone(&log), sender.clone());
            thread::spawn(move || {
                let mut reader = BufReader::new(pipe);
                let mut line = Vec::new();
                while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    log.lock().unwrap().push_str(&text);
                    let _ = sender.send(text);
                    line.clear();
                }
            });
        }
        let mut program = Self { child, address: None, log, lines, folder };
        loop {
            let line = program.next_line();
            let address = line.trim_end().strip_prefix("listening on ").and_then(|listener| listener.split_once("://"));
            if let Some(("http" | "https", address)) = address {
                let address = address.split(' ').next().unwrap();
                program.address.get_or_insert(address.parse().unwrap());
            }
            if line.starts_with("ready") {
                return program;
            }
        }
    }

    fn next_line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => panic!("the program says nothing more; so far:\n{}", self.log()),
        }
    }

    /// The first TCP address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("the file names a TCP address")
    }

    /// The folder it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, standard output and standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line with `text` is printed (or was), and gives it.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        if let Some(line) = self.log().lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        loop {
            let line = self.next_line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal by name, for instance `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// A connection with a read timeout.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends these octets on a new connection and reads until the program closes it.
    pub(crate) fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end like any other.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// GET on a connection of its own; the whole answer.
    pub(crate) fn get(&self, target: &str) -> String {
        self.exchange(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fresh folder with these files in it.
pub(crate) fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The program, to be run in this folder with the virtual environment that `make test` prepares.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ziggurat"));
    command.current_dir(folder).env("VIRTUAL_ENV", virtual_env()).env("NO_COLOR", "1").env_remove("PYTHONPATH");
    command
}

/// The virtual environment with the applications under test.
pub(crate) fn virtual_env() -> PathBuf {
    std::env::var_os("VIRTUAL_ENV").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv"), PathBuf::from)
}
