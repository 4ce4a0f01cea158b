//! A bounded pipe of octets between an async task and a thread, or between two threads. Each end waits in its own way.
//!
//! Request bodies go from a task to the app, response bodies from the app to a task.

mod ends;
#[cfg(test)]
mod model;
mod overflow;
#[cfg(test)]
mod tests;

/// What the ends share their state with. The [`model`] has loom's in their place.
mod sync {
    pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
}

pub(crate) use ends::{Disconnected, Reader, RemoteWriter, Writer, pipe, remote_pipe};
