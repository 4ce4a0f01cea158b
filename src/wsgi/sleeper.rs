//! How a thread of the app sleeps until there is work.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, Thread};

use pyo3::prelude::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

use super::errors::format_exception;

/// A thread that sleeps, for those who wake it. A wake-up that comes before the sleep is not lost.
#[derive(Clone)]
pub(super) enum Sleeper {
    /// Any thread.
    Parked(Thread),
    /// Python's main thread: it also wakes for signals, whose handlers run on it.
    Main(Arc<OwnedFd>),
}

/// How long a signal waits for its handler that came just before the sleep, which it therefore did not interrupt.
const ROUND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

impl Sleeper {
    /// This thread.
    pub(super) fn of_this_thread() -> Self {
        Self::Parked(thread::current())
    }

    /// This thread, which is Python's main thread.
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub(super) fn of_main_thread() -> io::Result<Self> {
        Ok(Self::Main(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Sleeps on this thread until it is woken, or for no reason.
    pub(super) fn sleep(&self) {
        match self {
            Self::Parked(_) => thread::park(),
            Self::Main(event) => match poll(&mut [PollFd::new(event, PollFlags::IN)], Some(&ROUND)) {
                Ok(1..) => drop(read(&**event, &mut [0; 8])),
                // A signal has interrupted it, or came before it.
                Ok(0) | Err(_) => run_signal_handlers(),
            },
        }
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        match self {
            Self::Parked(thread) => thread.unpark(),
            // The counter is never at its maximum.
            Self::Main(event) => drop(write(&**event, &1_u64.to_ne_bytes())),
        }
    }
}

/// Runs the handlers of received signals, on the main thread.
pub(super) fn run_signal_handlers() {
    Python::try_attach(|py| {
        if let Err(error) = py.check_signals() {
            tracing::warn!("{}", format_exception(py, &error).trim_end());
        }
    });
}
