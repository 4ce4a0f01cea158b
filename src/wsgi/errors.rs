//! `wsgi.errors`, and the log lines about exceptions of the app.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;
use tracing::field::{DisplayValue, display};

use crate::call::head::{Head, HeadSummary};

use super::watchdog::DeadlineExceeded;

/// What a log line about the app is about: its place, and the request.
#[derive(Clone)]
pub(super) struct LogContext {
    pub(super) place: Arc<str>,
    pub(super) head: Option<Head>,
}

impl LogContext {
    /// Logs an exception with its traceback. The exception of a deadline is not an error of the app.
    pub(super) fn log_exception(&self, py: Python<'_>, message: &str, error: &PyErr) {
        if error.is_instance_of::<DeadlineExceeded>(py) {
            return self.log("the app was interrupted at the request's deadline");
        }
        let traceback = format_exception(py, error);
        self.log(&format!("{message}\n{}", traceback.trim_end()));
    }

    /// Logs a message and returns it.
    pub(super) fn log_and_return(&self, message: String) -> String {
        self.log(&message);
        message
    }

    /// Logs a message.
    pub(super) fn log(&self, message: &str) {
        tracing::error!(request_id = self.request_id(), request = self.request(), app = &*self.place, "{message}");
    }

    /// The request's id, for the log.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.head.as_ref().and_then(|head| head.view().request_id())
    }

    /// The request's method and path, for the log.
    pub(super) fn request(&self) -> Option<DisplayValue<HeadSummary<'_>>> {
        self.head.as_ref().map(|head| display(head.view().summary()))
    }
}

/// The traceback as Python prints it, or the type of an exception that cannot be printed.
pub(super) fn format_exception(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        // Before Python 3.12 the value alone does not have the traceback.
        let parts = (error.get_type(py), error.value(py), error.traceback(py));
        let lines = py.import("traceback")?.call_method1("format_exception", parts)?;
        // As on standard error: a lone surrogate becomes its escape.
        let line = |line: Bound<'_, PyAny>| line.call_method1("encode", ("utf-8", "backslashreplace"))?.extract::<Vec<u8>>();
        let octets = lines.try_iter()?.map(|each| line(each?)).collect::<PyResult<Vec<_>>>()?.concat();
        Ok(String::from_utf8_lossy(&octets).into_owned())
    };
    formatted().unwrap_or_else(|_| error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string()))
}

/// The longest line that waits for its end, in octets.
const LINE: usize = 64 * 1024;

/// A text stream whose lines are logged.
#[pyclass(module = "ziggurat")]
pub(super) struct Errors {
    context: LogContext,
    line: String,
}

impl Errors {
    pub(super) const fn new(context: LogContext) -> Self {
        Self { context, line: String::new() }
    }
}

#[pymethods]
impl Errors {
    fn write(&mut self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        for part in text.to_string_lossy().split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') || self.line.len() > LINE {
                self.flush();
            }
        }
        text.len()
    }

    fn writelines(&mut self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast()?)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim_end().is_empty() {
            self.context.log(line.trim_end());
        }
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.flush();
    }
}
