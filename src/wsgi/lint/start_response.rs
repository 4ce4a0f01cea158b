//! Stands in for `start_response` and `write()`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::check::Check;
use super::{Rule, head};

/// The `start_response` that a callee gets.
#[pyclass(module = "ziggurat", frozen)]
pub(super) struct LintedStartResponse {
    start: Py<PyAny>,
    check: Arc<Check>,
}

impl LintedStartResponse {
    pub(super) const fn new(start: Py<PyAny>, check: Arc<Check>) -> Self {
        Self { start, check }
    }

    /// The check of the border.
    pub(super) fn check(&self) -> Arc<Check> {
        Arc::clone(&self.check)
    }
}

#[pymethods]
impl LintedStartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<LintedWrite> {
        let check = &self.check;
        let before = check.answer(|answer| *answer);
        match exc_info {
            Some(exc_info) if !is_exc_info(exc_info) => {
                check.find(Rule::StartResponse, "the exc_info that it gave start_response() is not what sys.exc_info() gives")?;
            }
            None if before.sent > 0 => {
                check.find(Rule::StartResponse, "it called start_response() after the first octets of its response")?;
            }
            None if before.is_started => {
                check.find(Rule::StartResponse, "it called start_response() a second time without exc_info")?;
            }
            _ => {}
        }
        let is_bodiless = head::check_status(status, check)?;
        let length = head::check_headers(headers, check)?;
        let write = match exc_info {
            Some(exc_info) => self.start.bind(py).call1((status, headers, exc_info))?,
            None => self.start.bind(py).call1((status, headers))?,
        };
        check.answer(|answer| {
            answer.is_started = true;
            answer.is_bodiless = is_bodiless;
            answer.length = length;
        });
        Ok(LintedWrite { write: write.unbind(), check: Arc::clone(check) })
    }
}

/// A type, an exception of that type, and its traceback.
fn is_exc_info(exc_info: &Bound<'_, PyAny>) -> bool {
    let Ok(three) = exc_info.cast::<PyTuple>() else { return false };
    let (Ok(kind), Ok(value)) = (three.get_item(0), three.get_item(1)) else { return false };
    three.len() == 3 && kind.cast::<PyType>().is_ok_and(|kind| value.is_instance(kind).unwrap_or(false))
}

/// The `write()` that a callee gets.
#[pyclass(module = "ziggurat", frozen)]
struct LintedWrite {
    write: Py<PyAny>,
    check: Arc<Check>,
}

#[pymethods]
impl LintedWrite {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.check.find(Rule::Write, "it uses write(), which is there for code that cannot return an iterable")?;
        self.check.chunk(data)?;
        self.write.call1(py, (data,))
    }
}
