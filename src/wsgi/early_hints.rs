//! `wsgi.early_hints` in the environ: sends hints (103, RFC 8297) before the response, as gunicorn's does.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use ziggurat_middleware::EarlyHints;

use super::response_head::hint_head;
use super::start_response::StartResponse;
use crate::call::hints::HintSender;

/// The callable of one request: `early_hints([("Link", "</style.css>; rel=preload; as=style")])`.
#[pyclass(module = "ziggurat", name = "EarlyHints", frozen)]
pub(super) struct SendHints {
    sender: HintSender,
    /// Of the response, which ends the hints.
    start: Py<StartResponse>,
    count: AtomicUsize,
}

/// Puts the callable into the environ of a request whose response is that of `start`.
pub(super) fn put(environ: &Bound<'_, PyDict>, sender: HintSender, start: &Bound<'_, StartResponse>) -> PyResult<()> {
    let hints = SendHints { sender, start: start.clone().unbind(), count: AtomicUsize::new(0) };
    environ.set_item(intern!(environ.py(), "wsgi.early_hints"), Bound::new(environ.py(), hints)?)
}

#[pymethods]
impl SendHints {
    fn __call__(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let head = hint_head(headers)?;
        // Another thread that has borrowed it is sending the response.
        let is_sent = self.start.bind(py).try_borrow().is_ok_and(|start| start.writer.is_over() || start.writer.is_sent());
        if !is_sent && self.count.fetch_add(1, Relaxed) < EarlyHints::MOST {
            self.sender.send(head);
        }
        Ok(())
    }
}
