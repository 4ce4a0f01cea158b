//! The Python extension module: the same program, started by an interpreter that is already there.

use std::ffi::OsString;

use pyo3::prelude::*;

/// `ziggurat._native`.
#[pymodule]
#[pyo3(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(main, module)?)
}

/// Runs a command line, the program's name first, and gives its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    // The interpreter is let go: other threads of this process may want it while we serve.
    py.detach(|| crate::Ziggurat::new().run(arguments))
}
