//! Process 1 of a container: it must reap orphans, which become its children, and signals that it does not handle are not delivered. The server
//! therefore runs as the child of a process that does only this.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The signals that are forwarded to the server.
const FORWARDED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT];

/// Whether this is process 1. Sockets that systemd passed are for this process only, so the server cannot run as a child then.
pub(crate) fn is_needed() -> bool {
    std::process::id() == 1 && std::env::var_os("LISTEN_PID").is_none()
}

/// Runs a command, forwards signals to it and reaps all processes that end. Returns the exit code of the command, or 128 and the number of the signal
/// that ended it.
///
/// # Errors
///
/// If the command cannot be started, or signals cannot be handled.
pub(crate) fn supervise(command: &mut Command) -> io::Result<u8> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Before the child starts, so that neither its end nor a signal for it is missed.
        let mut ended = signal(SignalKind::child())?;
        let mut signals = Vec::new();
        for forwarded in FORWARDED {
            signals.push((forwarded, signal(SignalKind::from_raw(forwarded.as_raw()))?));
        }
        // In a process group of its own, so that a signal of the terminal does not reach it twice.
        let child = Pid::from_child(&command.process_group(0).spawn()?);
        for (forwarded, mut signal) in signals {
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    // If the child has ended, SIGCHLD follows.
                    let _ = kill_process(child, forwarded);
                }
            });
        }
        loop {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == child {
                    return Ok(code(status));
                }
            }
            ended.recv().await;
        }
    })
}

fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// `supervise` reaps the children of other tests too, so each test needs a process of its own.
#[cfg(test)]
mod tests {
    use rustix::process::{getpid, set_child_subreaper};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn orphans_are_reaped() {
        set_child_subreaper(Some(getpid())).unwrap();
        // An orphan that is not reaped can still be sent a signal.
        let script = r#"orphan=$(sh -c 'true & echo $!'); while kill -0 "$orphan" 2>/dev/null; do sleep 0.01; done; exit 7"#;
        assert_eq!(supervise(&mut shell(script)).unwrap(), 7);
    }

    #[test]
    fn signals_reach_the_child_and_its_exit_code_is_returned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let script = format!("trap 'exit 42' USR1; touch {}; while :; do sleep 0.01; done", path.display());
        let teller = std::thread::spawn(move || {
            while !path.exists() {
                std::thread::yield_now();
            }
            kill_process(getpid(), Signal::USR1).unwrap();
        });
        assert_eq!(supervise(&mut shell(&script)).unwrap(), 42);
        teller.join().unwrap();
    }

    #[test]
    fn a_child_that_a_signal_ends_has_128_and_its_number() {
        assert_eq!(supervise(&mut shell("kill -KILL $$")).unwrap(), 128 + 9);
        assert!(supervise(&mut Command::new("/nowhere/to/be/found")).is_err());
    }
}
