//! Signals of a worker: the server decides when it ends, whatever a supervisor sends to the whole process group.

use pyo3::prelude::*;
use rustix::process::{Signal, getpid, kill_process};
use ziggurat_middleware::Finding;

/// Installs handlers that do nothing, which the app may replace, and one that writes the Python stacks of all threads to standard error even while C
/// code holds the interpreter. (Programs that the app executes would inherit an ignored signal.)
pub(super) fn handle(process: &Bound<'_, PyModule>) -> Result<(), Finding> {
    process.call_method0("handle_signals")?;
    // An embedding without standard error cannot do this.
    if let Err(error) = process.call_method0("show_stacks") {
        tracing::warn!("stacks of a worker that hangs cannot be shown: {error}");
    }
    Ok(())
}

/// Writes the Python stacks of all threads to standard error, also while C code holds the interpreter, by the handler of [`handle`]. Does nothing if
/// the app has restored the default action.
pub(in crate::wsgi) fn dump_stacks() {
    let caught = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    if caught.is_some_and(|mask| mask >> (Signal::USR2.as_raw() - 1) & 1 == 1) {
        // The process is this one.
        let _ = kill_process(getpid(), Signal::USR2);
    }
}
