//! Signals of a worker: the front decides about its end, whatever a supervisor sends to the whole group.

use pyo3::prelude::*;
use ziggurat_middleware::Finding;

/// Sets handlers that do nothing, which the app may replace by its own, and one that writes the Python stacks of all threads to standard error,
/// whatever holds the interpreter. (A signal that is ignored would be ignored by what the app executes, too.)
pub(super) fn handle(py: Python<'_>) -> Result<(), Finding> {
    let signal = py.import("signal")?;
    let nothing = py.eval(c"lambda signal, frame: None", None, None)?;
    for name in ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"] {
        let number = signal.getattr(name)?;
        signal.call_method1("signal", (&number, &nothing))?;
        signal.call_method1("siginterrupt", (number, false))?;
    }
    // An embedding without a standard error has no use for it.
    let registered = py.run(
        c"import faulthandler, signal
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

/// Runs the handlers of signals that have come, on the main thread.
pub(super) fn run_handlers() {
    Python::try_attach(|py| {
        if let Err(error) = py.check_signals() {
            tracing::warn!("{}", super::super::errors::format_exception(py, &error).trim_end());
        }
    });
}
