//! The Python extension module: the same program, started by an interpreter that is already there.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::worker::launch::Launch;

/// `ziggurat._native`.
#[pymodule]
#[pyo3(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("DeadlineExceeded", module.py().get_type::<super::warden::DeadlineExceeded>())?;
    module.add_function(wrap_pyfunction!(main, module)?)
}

/// Runs a command line, the program's name first, and gives its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    let signal = py.import("signal")?;
    let interrupt = signal.getattr("SIGINT")?;
    // SIGINT is the server's to drain at. Handlers are chained, so Python's would raise KeyboardInterrupt after the drain. (Where this is not
    // Python's main thread, SIGINT is not ours either.)
    let handler = signal.call_method1("signal", (&interrupt, signal.getattr("SIG_DFL")?)).ok();
    // The interpreter is let go: other threads of this process may want it while we serve.
    let mut program = crate::Ziggurat::new();
    // A worker is this interpreter with this module, and not one that happens to lie in the working folder.
    if let Some(executable) = py.import("sys")?.getattr("executable")?.extract::<Option<PathBuf>>()?.filter(|path| path.is_absolute()) {
        program = program.launched_by(Launch { program: executable, arguments: vec!["-P".into(), "-m".into(), "ziggurat".into()] });
    }
    let code = py.detach(|| program.run(arguments));
    if let Some(handler) = handler {
        signal.call_method1("signal", (interrupt, handler))?;
    }
    Ok(code)
}
