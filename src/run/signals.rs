//! Signals to the process.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::print_message;
use crate::wsgi::SignalActions;

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

/// The signals after which the server goes on, while it starts: they wait until it serves. SIGTERM and SIGINT end it at once, however long an import takes.
pub(super) struct EarlySignals {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    actions: SignalActions,
}

impl EarlySignals {
    /// Must be called within a runtime.
    pub(super) fn install() -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let (user1, user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        Ok(Self { hangup, user1, user2, actions: SignalActions::save() })
    }
}

impl Signals {
    /// Must be called within a runtime, after the import of Python apps, whose modules may set signal handlers.
    pub(super) fn install(early: EarlySignals) -> io::Result<Self> {
        let EarlySignals { mut hangup, mut user1, mut user2, actions: before } = early;
        before.restore();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
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
