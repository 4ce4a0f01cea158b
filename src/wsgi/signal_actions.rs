//! What the process does at signals. That is the program's, and modules of an app may change it while they are imported.

use std::{mem, ptr};

use libc::{SIGHUP, SIGUSR1, SIGUSR2, c_int, sigaction};

/// The signals after which a server goes on.
const SIGNALS: [c_int; 3] = [SIGHUP, SIGUSR1, SIGUSR2];

/// The actions of [`SIGNALS`].
pub(crate) struct SignalActions([sigaction; SIGNALS.len()]);

impl SignalActions {
    /// The present ones.
    pub(crate) fn save() -> Self {
        Self(SIGNALS.map(|signal| {
            // SAFETY: all zeroes is a valid value of this struct of integers and pointers.
            let mut action: sigaction = unsafe { mem::zeroed() };
            // SAFETY: no action is set, and `action` has room for the present one. It cannot fail for a signal that exists.
            unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
            action
        }))
    }

    /// Sets them again.
    pub(crate) fn restore(&self) {
        for (signal, action) in SIGNALS.into_iter().zip(&self.0) {
            // SAFETY: the action was that of the process before, and handlers are never unloaded.
            unsafe { libc::sigaction(signal, &raw const *action, ptr::null_mut()) };
        }
    }
}
