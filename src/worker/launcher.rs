//! How this program is started again, as a worker of itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// What to execute to get this program: an executable, and the arguments that precede those of the command line.
///
/// The program leaves it with the [`Lifecycle`](ziggurat_middleware::Lifecycle) of what it runs; where nobody did, an app
/// that wants workers is refused. A program that runs pipelines without Ziggurat's command line has to leave there one that leads to a `ziggurat`:
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
}

/// What systemd says to the process that it started, and to no other.
const OF_SYSTEMD: [&str; 6] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

impl Launcher {
    /// This executable, with these arguments first.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// The executable of this process. (What has been put in its place since then is met by the version in the first word.)
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn current() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: Vec::new() })
    }

    /// The command that starts a worker which the process list shows under this title. Its standard input is to be its end of the link.
    pub(crate) fn worker(&self, title: &str) -> Command {
        self.child(&["worker", "--", title])
    }

    /// The command that starts a process which reads a Django site's settings. It is asked over its standard input.
    pub(crate) fn settings(&self) -> Command {
        self.child(&["settings"])
    }

    fn child(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments);
        for name in OF_SYSTEMD {
            command.env_remove(name);
        }
        command
    }

    /// The command that starts this program once more, with this command line.
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
    fn a_worker_does_not_hear_what_systemd_says_to_the_front() {
        let launcher = Launcher { program: "ziggurat".into(), arguments: Vec::new() };
        let command = launcher.worker("ziggurat: worker 1");
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(OF_SYSTEMD.iter().all(|name| removed.contains(&std::ffi::OsStr::new(name))), "{removed:?}");
    }

    #[test]
    fn arguments_of_the_program_precede_those_of_the_worker() {
        let launcher = Launcher { program: "/usr/bin/python3".into(), arguments: vec!["-m".into(), "ziggurat".into()] };
        let command = launcher.worker("ziggurat: worker 1 of wsgi (hello:app)");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["-m", "ziggurat", "worker", "--", "ziggurat: worker 1 of wsgi (hello:app)"]);
    }
}
