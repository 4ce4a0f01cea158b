//! What is wrong with a pipeline, as an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::pipeline::Report;

create_exception!(
    ziggurat,
    PipelineError,
    PyValueError,
    "Something is wrong with a pipeline. Its text is what `ziggurat check` prints; `findings` is the list that `ziggurat check --json` prints."
);

/// The exception for a report.
pub(super) fn raised(py: Python<'_>, report: &Report) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let error = PipelineError::new_err(report.render(false).trim_end().to_owned());
        let findings = py.import("json")?.call_method1("loads", (report.to_json().to_string(),))?;
        error.value(py).setattr("findings", findings)?;
        Ok(error)
    };
    made().unwrap_or_else(|error| error)
}
