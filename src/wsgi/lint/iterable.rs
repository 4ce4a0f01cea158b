//! Stands in for the response of a callee.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::Rule;
use super::check::Check;
use crate::wsgi::file_wrapper::FileWrapper;
use crate::wsgi::iterate::LazyIterator;
use crate::wsgi::response_head::type_name;
use crate::wsgi::timed::TimedIterable;

/// What the caller gets for what was returned. A list or tuple is checked at once. It stays what it is, and so does a file: the server treats them better than
/// what it has to iterate.
pub(super) fn watched<'py>(returned: Bound<'py, PyAny>, check: &Arc<Check>) -> PyResult<Bound<'py, PyAny>> {
    let py = returned.py();
    if returned.is_instance_of::<PyBytes>() || returned.is_instance_of::<PyString>() {
        check.find(Rule::Body, &format!("it returned `{}`, not an iterable of bytes such as [b'...']", type_name(&returned)))?;
        return Ok(returned);
    }
    if returned.is_exact_instance_of::<PyList>() || returned.is_exact_instance_of::<PyTuple>() {
        returned.try_iter()?.try_for_each(|chunk| check.chunk(&chunk?))?;
        check.end()?;
        return Ok(returned);
    }
    if returned.is_exact_instance_of::<FileWrapper>() {
        return Ok(returned);
    }
    if !["__iter__", "__getitem__"].into_iter().any(|method| returned.get_type().hasattr(method).unwrap_or(true)) {
        check.find(Rule::Body, &format!("it returned `{}`, which is no iterable", type_name(&returned)))?;
        return Ok(returned);
    }
    let needs_close = check.has_caller() && has_close(&returned);
    let iterable = LintedIterable { iterator: LazyIterator::new(returned), check: Arc::clone(check), needs_close: needs_close.into() };
    Ok(Bound::new(py, iterable)?.into_any())
}

/// Whether a response has a `close()`. What stands in for one has it always.
fn has_close(returned: &Bound<'_, PyAny>) -> bool {
    let py = returned.py();
    if let Ok(linted) = returned.cast_exact::<LintedIterable>() {
        return has_close(linted.get().iterator.iterable(py));
    }
    if let Ok(timed) = returned.cast_exact::<TimedIterable>() {
        return has_close(timed.get().iterable(py));
    }
    returned.hasattr("close").unwrap_or(false)
}

/// A response whose chunks are checked when they come.
#[pyclass(module = "ziggurat", frozen)]
pub(in crate::wsgi) struct LintedIterable {
    iterator: LazyIterator,
    check: Arc<Check>,
    /// Whether the caller still has to call `close()`.
    needs_close: AtomicBool,
}

#[pymethods]
impl LintedIterable {
    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().iterator.get(slf.py())?;
        Ok(slf)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let next = self.iterator.get(py)?.next().transpose()?;
        match &next {
            Some(chunk) => self.check.chunk(chunk)?,
            None => self.check.end()?,
        }
        Ok(next)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.needs_close.store(false, Ordering::Relaxed);
        let closed = self.iterator.close(py);
        self.check.input(py, Check::note);
        closed
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.iterator.traverse(&visit)
    }
}

impl Drop for LintedIterable {
    fn drop(&mut self) {
        if *self.needs_close.get_mut() {
            let what = format!("it did not call close() of what {} returned", self.check.callee());
            self.check.by_caller(Rule::Close, &what);
        }
    }
}
