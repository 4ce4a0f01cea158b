//! What a Python layer calls in a file with `wsgi_lint`: the callable below, behind a border.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};

use super::Border;

/// A callable behind a border. Attributes are those of the callable.
#[pyclass(module = "ziggurat", name = "Linted", frozen)]
pub(in crate::wsgi) struct LintedCallable {
    callable: Py<PyAny>,
    border: Arc<Border>,
}

impl LintedCallable {
    pub(in crate::wsgi) fn new(callable: Py<PyAny>, border: Border) -> Self {
        Self { callable, border: Arc::new(border) }
    }
}

#[pymethods]
impl LintedCallable {
    fn __call__<'py>(&self, environ: &Bound<'py, PyAny>, start_response: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let callable = self.callable.bind(environ.py());
        match super::of(environ) {
            Some(lint) => self.border.call(callable, environ, start_response, lint),
            None => callable.call1((environ, start_response)),
        }
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.callable.bind(py).getattr(name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callable)
    }
}
