//! Python layers and apps of a stack that is timed.
//!
//! A Python layer calls the one below without any code of ours between them, so each stands in a callable that visits its place.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};
use ziggurat_middleware::Place;
use ziggurat_middleware::timing::{BodyVisit, RequestClock};

use super::file_wrapper::FileWrapper;
use super::iterate::LazyIterator;
use super::lint::LintedIterable;
use super::service_as_wsgi::ResponseIterable;

/// The clock of a request, in its environ.
#[pyclass(module = "ziggurat", name = "Clock", frozen)]
pub(super) struct EnvironClock(RequestClock);

impl EnvironClock {
    /// Leaves the clock for the layers below.
    pub(super) fn put(environ: &Bound<'_, PyDict>, clock: RequestClock) -> PyResult<()> {
        environ.set_item(intern!(environ.py(), "ziggurat.clock"), Py::new(environ.py(), Self(clock))?)
    }

    /// The clock in an environ, if the stack is timed.
    pub(super) fn of(environ: &Bound<'_, PyAny>) -> Option<RequestClock> {
        let clock = environ.cast::<PyDict>().ok()?.get_item(intern!(environ.py(), "ziggurat.clock")).ok()??;
        Some(clock.cast_exact::<Self>().ok()?.get().0.clone())
    }
}

/// A callable at its place. Attributes are those of the callable.
#[pyclass(module = "ziggurat", name = "Timed", frozen)]
pub(super) struct TimedCallable {
    callable: Py<PyAny>,
    place: Place,
}

impl TimedCallable {
    pub(super) const fn new(callable: Py<PyAny>, place: Place) -> Self {
        Self { callable, place }
    }
}

#[pymethods]
impl TimedCallable {
    fn __call__(&self, environ: &Bound<'_, PyAny>, start_response: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = environ.py();
        let visit = EnvironClock::of(environ).and_then(|clock| clock.enter(&self.place));
        let iterable = self.callable.bind(py).call1((environ, start_response)).inspect_err(|error| {
            if let Some(visit) = &visit {
                visit.fail(&type_of(py, error));
            }
        })?;
        match visit {
            Some(mut visit) if is_lazy(&iterable) => {
                let body = TimedIterable { iterator: LazyIterator::new(iterable), visit: Mutex::new(Some(visit.body())) };
                Ok(Py::new(py, body)?.into_any())
            }
            _ => Ok(iterable.unbind()),
        }
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.callable.bind(py).getattr(name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callable)
    }
}

/// The name of an exception's type, as tracebacks have it.
fn type_of(py: Python<'_>, error: &PyErr) -> String {
    error.get_type(py).fully_qualified_name().map(|name| name.to_string()).unwrap_or_default()
}

/// Whether code of the layer runs when the response is iterated. A response from below that passes is not the layer's.
fn is_lazy(iterable: &Bound<'_, PyAny>) -> bool {
    let is_whole = iterable.is_exact_instance_of::<PyList>() || iterable.is_exact_instance_of::<PyTuple>();
    let is_from_below = iterable.is_exact_instance_of::<ResponseIterable>()
        || iterable.is_exact_instance_of::<TimedIterable>()
        || iterable.is_exact_instance_of::<LintedIterable>();
    !(is_whole || is_from_below || iterable.is_exact_instance_of::<FileWrapper>())
}

/// A response that a layer makes while it is iterated.
#[pyclass(module = "ziggurat", name = "TimedIterable", frozen)]
pub(super) struct TimedIterable {
    iterator: LazyIterator,
    visit: Mutex<Option<BodyVisit>>,
}

impl TimedIterable {
    /// What it stands for.
    pub(super) fn iterable<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.iterator.iterable(py)
    }

    fn visit(&self, act: impl FnOnce(&mut BodyVisit)) {
        if let Some(visit) = &mut *self.visit.lock().unwrap_or_else(PoisonError::into_inner) {
            act(visit);
        }
    }
}

#[pymethods]
impl TimedIterable {
    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().iterator.get(slf.py())?;
        Ok(slf)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut iterator = self.iterator.get(py)?;
        self.visit(BodyVisit::ask);
        let next = iterator.next();
        if let Some(Err(error)) = &next {
            self.visit(|visit| visit.fail(&type_of(py, error)));
        }
        self.visit(BodyVisit::answer);
        next.transpose()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.visit.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(ended);
        self.iterator.close(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.iterator.traverse(&visit)
    }
}
