//! A WSGI callable for code that builds stacks without pyo3.

use std::sync::Arc;

use pyo3::prelude::*;
use ziggurat_middleware::{Context, Finding, Next};

use super::application::Application;
use super::environ::Concurrency;
use super::in_place::InPlace;
use super::interpreter::initialize;
use super::service_as_wsgi::{Runtime, ServiceAsWsgi};

/// A WSGI application, or a middleware over one.
#[derive(Clone)]
pub(crate) struct Callable(Arc<Py<PyAny>>);

impl Callable {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self(Arc::new(callable))
    }

    /// A stack as a callable, for a Python layer above it.
    ///
    /// # Errors
    ///
    /// If Python cannot be started, or out of memory.
    pub(crate) fn of_stack(next: Next, runtime: &Arc<Runtime>) -> Result<Self, Finding> {
        // A stack may have no Python below its first Python layer.
        initialize()?;
        let stack = Python::attach(|py| Py::new(py, ServiceAsWsgi::below(py, next, Arc::clone(runtime))))?;
        Ok(Self::new(stack.into_any()))
    }

    /// A whole pipeline as a callable, for another server.
    ///
    /// # Errors
    ///
    /// If out of memory.
    pub(crate) fn whole(next: Next, runtime: &Arc<Runtime>) -> Result<Self, Finding> {
        let stack = Python::attach(|py| Py::new(py, ServiceAsWsgi::whole(py, next, Arc::clone(runtime))))?;
        Ok(Self::new(stack.into_any()))
    }

    /// A service that calls it on the polling thread, for native layers above it.
    ///
    /// # Errors
    ///
    /// If out of memory.
    pub(crate) fn service(self, context: &Context) -> Result<Next, Finding> {
        let concurrency = Concurrency { multithread: true, multiprocess: true, run_once: false };
        let application = Python::attach(|py| Application::new(py, self.object(py), context.place().as_str(), concurrency))?;
        Ok(Next::new(context.place(), InPlace::new(application)))
    }

    /// The Python object.
    pub(crate) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.clone_ref(py)
    }
}
