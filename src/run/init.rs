//! Process 1 of a container has duties that no other process has: orphans become its children, and nobody else reaps them; and signals that
//! it does not handle are not delivered at all. So that the server need not know, it runs as the child of a process that does nothing else.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// What is meant for the server.
const FORWARDED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT];

/// Whether this is process 1. (Sockets that systemd passed are for this very process, so a child could not take them.)
pub(crate) fn is_needed() -> bool {
    std::process::id() == 1 && std::env::var_os("LISTEN_PID").is_none()
}

/// Runs a command as its only charge: forwards signals to it, reaps whatever ends, and gives the command's exit code, 128 and the signal's
/// number where one ended it.
///
/// # Errors
///
/// Where the command cannot be started, or signals cannot be handled.
pub(crate) fn supervise(command: &mut Command) -> io::Result<u8> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Installed before the child exists, so that its end is not missed, nor what it is to be told.
        let mut ended = signal(SignalKind::child())?;
        let mut signals = Vec::new();
        for forwarded in FORWARDED {
            signals.push((forwarded, signal(SignalKind::from_raw(forwarded.as_raw()))?));
        }
        // In a group of its own: what a terminal sends to its whole group must not reach it twice.
        let child = Pid::from_child(&command.process_group(0).spawn()?);
        for (forwarded, mut signal) in signals {
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    // If it is gone already, we are about to hear of it.
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

/// Whatever ends is reaped, the children of other tests too: they want a process for each test.
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
        // An orphan that nobody reaps can still be sent a signal.
        let script = r#"orphan=$(sh -c 'true & echo $!'); while kill -0 "$orphan" 2>/dev/null; do sleep 0.01; done; exit 7"#;
        assert_eq!(supervise(&mut shell(script)).unwrap(), 7);
    }

    #[test]
    fn signals_reach_the_child_and_its_end_is_ours() {
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
    fn a_child_that_a_signal_ends_is_told_from_one_that_exits() {
        assert_eq!(supervise(&mut shell("kill -KILL $$")).unwrap(), 128 + 9);
        assert!(supervise(&mut Command::new("/nowhere/to/be/found")).is_err());
    }
}
