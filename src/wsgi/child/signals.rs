//! Signals of a worker: the server decides when it ends, whatever a supervisor sends to the whole process group.

use pyo3::prelude::*;
use rustix::process::{Signal, getpid, kill_process};
use ziggurat_middleware::Finding;

/// Installs handlers that do nothing, which the app may replace, and one that writes the Python stacks of all threads to standard error even while C
/// code holds the interpreter. (The app's child processes would inherit an ignored signal.)
pub(super) fn handle(py: Python<'_>) -> Result<(), Finding> {
    let signal = py.import("signal")?;
    let nothing = py.eval(c"lambda signal, frame: None", None, None)?;
    for name in ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"] {
        let number = signal.getattr(name)?;
        signal.call_method1("signal", (&number, &nothing))?;
        signal.call_method1("siginterrupt", (number, false))?;
    }
    // Rust's own handlers stay in front and ignore one signal from outside; a worker that is told to crash has to. (An embedding without standard
    // error cannot use the rest.)
    let registered = py.run(
        c"import faulthandler, signal
for number in (signal.SIGSEGV, signal.SIGBUS):
    signal.signal(number, signal.SIG_DFL)
faulthandler.enable()
faulthandler.register(signal.SIGUSR2, all_threads=True, chain=False)",
        None,
        None,
    );
    if let Err(error) = registered {
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

/// Runs the handlers of received signals, on the main thread.
pub(super) fn run_handlers() {
    Python::try_attach(|py| {
        if let Err(error) = py.check_signals() {
            tracing::warn!("{}", super::super::errors::format_exception(py, &error).trim_end());
        }
    });
}
