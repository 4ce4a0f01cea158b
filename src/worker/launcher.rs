//! How this program starts itself again: as a worker, or to read settings.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use super::link::DESCRIPTOR;

/// The command that starts this program: an executable, and arguments that precede the command line.
///
/// The program adds it to the [`Lifecycle`](ziggurat_middleware::Lifecycle) of a pipeline. Without it, an app with worker processes is refused. A
/// program that runs pipelines without Ziggurat's command line adds one that starts a `ziggurat`:
///
/// ```
/// use ziggurat::Launcher;
/// use ziggurat_middleware::Lifecycle;
///
/// let mut host = http::Extensions::new();
/// host.insert(Launcher::new("/usr/bin/ziggurat", [] as [&str; 0]));
/// let lifecycle = Lifecycle::hosted(host);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// What the processes that it starts do not inherit.
    withheld: Vec<OsString>,
}

/// Variables that systemd sets for the process that it started.
const SYSTEMD_VARIABLES: [&str; 6] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

impl Launcher {
    /// An executable, with these arguments first.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, variables: Vec::new(), withheld: Vec::new() }
    }

    /// Sets a variable of the environment of the processes that it starts.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Withholds variables of this process from the processes that it starts.
    pub(crate) fn withholding(mut self, names: impl IntoIterator<Item = OsString>) -> Self {
        self.withheld.extend(names);
        self
    }

    /// The executable of this process. (If the file was replaced since then, the version in the worker's first frame differs.)
    ///
    /// # Errors
    ///
    /// If the system does not report it.
    pub fn current() -> std::io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?, [] as [OsString; 0]))
    }

    /// The command that starts a worker with this title in the process list.
    pub(crate) fn worker(&self, title: &str) -> Command {
        self.child(&["worker", "--", title])
    }

    /// The command that starts a process which reads a Django site's settings. Its query comes on the link.
    pub(crate) fn settings(&self) -> Command {
        self.child(&["settings"])
    }

    /// The command that starts a process which starts workers as another user.
    pub(crate) fn spawner(&self) -> Command {
        self.child(&["spawner"])
    }

    /// The command that starts a process which stays root and reads keys.
    pub(crate) fn root_reader(&self) -> Command {
        self.child(&["root-reader"])
    }

    /// A child without standard input.
    fn child(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        for name in SYSTEMD_VARIABLES {
            command.env_remove(name);
        }
        for name in &self.withheld {
            command.env_remove(name);
        }
        command
    }

    /// Leaves a child its end of the link. That is not its standard input: programs that Python starts on its way, for instance in a `.pth` file, would
    /// inherit and read it.
    pub(crate) fn leave_link(command: &mut Command, link: impl Into<OwnedFd>) -> io::Result<()> {
        command.fd_mappings(vec![FdMapping { parent_fd: link.into(), child_fd: DESCRIPTOR }]).map_err(io::Error::other)?;
        Ok(())
    }

    /// The command that starts this program again with this command line.
    pub(crate) fn again(&self, arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_inherit_the_variables_of_systemd() {
        let launcher = Launcher::new("ziggurat", [] as [&str; 0]);
        let command = launcher.worker("ziggurat: worker 1");
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(SYSTEMD_VARIABLES.iter().all(|name| removed.contains(&std::ffi::OsStr::new(name))), "{removed:?}");
    }

    #[test]
    fn arguments_of_the_program_precede_those_of_the_worker() {
        let launcher = Launcher::new("/usr/bin/python3", ["-m", "ziggurat"]);
        let command = launcher.worker("ziggurat: worker 1 of wsgi (hello:app)");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["-m", "ziggurat", "worker", "--", "ziggurat: worker 1 of wsgi (hello:app)"]);
    }
}
