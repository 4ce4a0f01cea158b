//! An exception on its way through native layers, from a Python app to the Python layer that called them.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use ziggurat_middleware::{BoxError, Response};

use super::errors::LogContext;

/// What an app raised. Whoever called the stack from Python takes it and raises it again; where no such caller is reached, because a layer
/// put something else in its place, it goes to the log.
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

    /// The exception, for the first who asks.
    pub(super) fn take(&self) -> Option<PyErr> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The exception behind this response, for whoever called the stack. Where that is a server, only one that is to end what the server does (no
    /// `Exception`: `SystemExit`, `KeyboardInterrupt`); of others it gets the answer that was made of them, and they go to the log.
    pub(super) fn behind(py: Python<'_>, response: &mut Response, is_server: bool) -> Option<PyErr> {
        let raised = response.extensions_mut().remove::<Self>()?;
        let error = raised.take()?;
        if is_server && error.is_instance_of::<PyException>(py) {
            raised.0.context.log_exception(py, "the app raised an exception", &error);
            return None;
        }
        Some(error)
    }

    /// The one among the causes of an error.
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
            Python::try_attach(|py| self.context.log_exception(py, "the app raised an exception", &error));
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
