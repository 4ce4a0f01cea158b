//! A WSGI callable for code that builds stacks without pyo3.

use std::sync::Arc;

use pyo3::prelude::*;
use ziggurat_middleware::{Context, Finding, Next, Place};

use super::application::Application;
use super::environ::Concurrency;
use super::in_place::InPlace;
use super::interpreter::initialize;
use super::lint::{Border, LintedCallable};
use super::service_as_wsgi::{Runtime, ServiceAsWsgi};
use super::timed::TimedCallable;

/// A WSGI application, or a middleware over one.
#[derive(Clone)]
pub(crate) struct Callable {
    object: Arc<Py<PyAny>>,
    /// Of one that is timed.
    place: Option<Place>,
    /// Its name and place, for findings about it.
    name: Arc<str>,
}

impl Callable {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self { object: Arc::new(callable), place: None, name: "the app".into() }
    }

    /// The same callable, which the file calls `target` at this place.
    pub(crate) fn named(self, target: &str, place: &Place) -> Self {
        Self { name: format!("`{target}` at `{place}`").into(), ..self }
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
        Ok(Self { name: "the native layer below".into(), ..Self::new(stack.into_any()) })
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

    /// The same callable, which visits its place in the stack if it is timed.
    ///
    /// # Errors
    ///
    /// If out of memory.
    pub(crate) fn timed(self, place: &Place) -> Result<Self, Finding> {
        if !place.is_timed() {
            return Ok(self);
        }
        let timed = Python::attach(|py| Py::new(py, TimedCallable::new(self.object(py), place.clone())))?;
        Ok(Self { object: Arc::new(timed.into_any()), place: Some(place.clone()), name: self.name })
    }

    /// The same callable behind a border, for a Python layer above it that the file calls `target` at this place.
    ///
    /// # Errors
    ///
    /// If out of memory.
    pub(crate) fn linted(&self, target: &str, place: &Place) -> Result<Self, Finding> {
        let border = Border::new(Some(format!("`{target}` at `{place}`").into()), self.name());
        let linted = Python::attach(|py| Py::new(py, LintedCallable::new(self.object(py), border)))?;
        Ok(Self::new(linted.into_any()))
    }

    /// A service that calls it on the polling thread, for native layers above it.
    ///
    /// # Errors
    ///
    /// If out of memory.
    pub(crate) fn service(self, context: &Context) -> Result<Next, Finding> {
        let concurrency = Concurrency { multithread: true, multiprocess: true, run_once: false };
        let application = Python::attach(|py| Application::new(py, &self, context.place().as_str(), concurrency))?;
        // The visit of the service and that of the callable are one.
        Ok(Next::new(self.place.as_ref().unwrap_or(context.place()), InPlace::new(application)))
    }

    /// Its name and place, for findings about it.
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The Python object.
    pub(crate) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.object.clone_ref(py)
    }
}
