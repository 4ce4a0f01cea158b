//! How this program is started again by the interpreter that runs it.

use std::ffi::{CStr, OsString};
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::worker::launcher::Launcher;

const CODE: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("launcher.py"), "\0").as_bytes()) {
    Ok(code) => code,
    Err(_) => panic!("the source holds a NUL"),
};

/// Starts `python -m package` with the flags and the search path of this process.
pub(super) fn launcher(py: Python<'_>, python: PathBuf, package: &str) -> PyResult<Launcher> {
    let module = PyModule::from_code(py, CODE, c"<ziggurat>", c"ziggurat_launcher")?;
    let arguments: Vec<OsString> = module.getattr("arguments")?.call1((package,))?.extract()?;
    // Without /proc, the variable is passed on as it is.
    let python_path: Option<OsString> = module.getattr("python_path")?.call0().and_then(|path| path.extract()).unwrap_or_default();
    let launcher = Launcher::new(python, arguments);
    Ok(match python_path {
        Some(path) => launcher.with_variable("PYTHONPATH", path),
        None => launcher,
    })
}
