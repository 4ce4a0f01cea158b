//! `ziggurat.PipelineError`: the findings about a pipeline as an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::pipeline::Report;

create_exception!(
    ziggurat,
    PipelineError,
    PyValueError,
    "A pipeline is wrong. The text is the output of `ziggurat check`; `findings` is the list of `ziggurat check --json`."
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
