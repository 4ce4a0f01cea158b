//! Signals to the process.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::print_message;

/// The signals that the process has received.
pub(super) struct Signals {
    /// Ready at the first SIGTERM or SIGINT. The second one exits the process.
    pub(super) stop: oneshot::Receiver<()>,
    pub(super) actions: mpsc::Receiver<SignalAction>,
}

/// A signal after which the server goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// SIGHUP: reload the pipeline file.
    Reload,
    /// SIGUSR1: reopen log files.
    Reopen,
    /// SIGUSR2: log the Python stacks.
    Stacks,
}

/// The length of the queue of actions. Signals coalesce anyway.
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
                    // SIGHUP of a closed terminal stops the server that runs in it.
                    _ = hangup.recv() => (128 + 1, (!had_terminal || io::stderr().is_terminal()).then_some(SignalAction::Reload)),
                    _ = user1.recv() => (0, Some(SignalAction::Reopen)),
                    _ = user2.recv() => (0, Some(SignalAction::Stacks)),
                };
                match (requested, stop.take()) {
                    (Some(requested), waiting) => {
                        stop = waiting;
                        // If the queue is full, it holds this action too.
                        let _ = action.try_send(requested);
                    }
                    (None, Some(stop)) => {
                        print_message("stopping: finishing the requests in flight; a second signal ends at once");
                        let _ = stop.send(());
                    }
                    // The second signal: exit at once.
                    #[allow(clippy::disallowed_methods)]
                    (None, None) => std::process::exit(code),
                }
            }
        });
        Ok(Self { stop: stopped, actions })
    }
}
