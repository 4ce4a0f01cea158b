//! An exception on its way through native layers, from a Python app to the Python layer that called them.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use ziggurat_middleware::{BoxError, Response};

use super::errors::LogContext;
use super::interpreter::try_attach;

/// An exception of the app. The Python caller of the stack takes it out and raises it again. If a layer replaces the response, or there is no such
/// caller, it is logged when it is dropped.
#[derive(Clone)]
pub(super) struct Raised(Arc<Inner>);

struct Inner {
    error: Mutex<Option<PyErr>>,
    context: LogContext,
}

impl Raised {
    pub(super) fn new(error: PyErr, context: LogContext) -> Self {
        Self(Arc::new(Inner { error: Mutex::new(Some(error)), context }))
    }

    /// Takes the exception out, once.
    pub(super) fn take(&self) -> Option<PyErr> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The exception behind a response, for the caller of the stack. A server gets only exceptions that end it (those that are no `Exception`:
    /// `SystemExit`, `KeyboardInterrupt`); others are logged, and it gets the response.
    pub(super) fn behind(py: Python<'_>, response: &mut Response, is_server: bool) -> Option<PyErr> {
        let raised = response.extensions_mut().remove::<Self>()?;
        let error = raised.take()?;
        if is_server && error.is_instance_of::<PyException>(py) {
            raised.0.context.log_exception(py, "the app raised an exception", &error);
            return None;
        }
        Some(error)
    }

    /// The exception among the causes of an error.
    pub(super) fn among(error: &BoxError) -> Option<&Self> {
        let mut link: Option<&(dyn Error + 'static)> = Some(&**error);
        while let Some(error) = link {
            if let Some(raised) = error.downcast_ref::<Self>() {
                return Some(raised);
            }
            link = error.source();
        }
        None
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(error) = self.error.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            try_attach(|py| self.context.log_exception(py, "the app raised an exception", &error));
        }
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raised")
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the app raised an exception")
    }
}

impl Error for Raised {}
