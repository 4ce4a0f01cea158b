//! What people and supervisors say by signals.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::say;

/// The signals of this process, from now on.
pub(super) struct Signals {
    /// Ready at the first SIGTERM or SIGINT. A second one ends the process.
    pub(super) stop: oneshot::Receiver<()>,
    pub(super) actions: mpsc::Receiver<SignalAction>,
}

/// What is wanted of a server that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// SIGHUP: read the file again.
    Reload,
    /// SIGUSR1: open log files again.
    Reopen,
    /// SIGUSR2: write the Python stacks to the log.
    Stacks,
}

/// Wishes that nobody has heard yet. Signals coalesce anyway.
const WAITING: usize = 8;

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn install() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut user1 = signal(SignalKind::user_defined1())?;
        let mut user2 = signal(SignalKind::user_defined2())?;
        let (stop, stopped) = oneshot::channel();
        let (action, actions) = mpsc::channel(WAITING);
        let had_terminal = io::stderr().is_terminal();
        tokio::spawn(async move {
            let mut stop = Some(stop);
            loop {
                let (code, requested) = tokio::select! {
                    _ = terminate.recv() => (128 + 15, None),
                    _ = interrupt.recv() => (128 + 2, None),
                    // Who closes the terminal of a server that runs in it means its end.
                    _ = hangup.recv() => (128 + 1, (!had_terminal || io::stderr().is_terminal()).then_some(SignalAction::Reload)),
                    _ = user1.recv() => (0, Some(SignalAction::Reopen)),
                    _ = user2.recv() => (0, Some(SignalAction::Stacks)),
                };
                match (requested, stop.take()) {
                    (Some(requested), waiting) => {
                        stop = waiting;
                        // Where so many wait, this one is among them.
                        let _ = action.try_send(requested);
                    }
                    (None, Some(stop)) => {
                        say("stopping: finishing the requests in flight; a second signal ends at once");
                        let _ = stop.send(());
                    }
                    // Whoever says it twice means now.
                    #[allow(clippy::disallowed_methods)]
                    (None, None) => std::process::exit(code),
                }
            }
        });
        Ok(Self { stop: stopped, actions })
    }
}
