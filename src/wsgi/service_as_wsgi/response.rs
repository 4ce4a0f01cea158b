//! A response as a WSGI app returns it: status and headers through `start_response`, the body as an iterable.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use http_body::Body as _;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use ziggurat_middleware::{Body, BoxError, Response};

use super::Runtime;
use crate::reason;
use crate::wsgi::environ::latin_1;
use crate::wsgi::input::next_chunk;
use crate::wsgi::raised::Raised;

/// Returns the response to the caller. `asked` is the method if the caller is a server; a Python layer gets the response as it is.
pub(super) fn give(
    py: Python<'_>,
    mut response: Response,
    asked: Option<&Method>,
    start_response: &Bound<'_, PyAny>,
    runtime: &Arc<Runtime>,
) -> PyResult<Py<PyAny>> {
    let to_head = asked.is_some_and(|method| *method == Method::HEAD);
    let is_bodiless = to_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let (Some(_), Some(length)) = (asked, response.body().size_hint().exact())
        && (!is_bodiless || (to_head && length > 0))
    {
        // Without a length, servers send the body in chunks or close the connection.
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    let (status, headers) = (status_line(py, &response)?, header_list(py, response.headers())?);
    let mut answer = ResponseIterable { body: Mutex::new(Some(response.into_body())), runtime: Arc::clone(runtime) };
    start_response.call1((status, headers))?;
    if is_bodiless {
        // After the head: a body that ends may log what was sent.
        answer.close(py);
        return Ok(PyList::empty(py).into_any().unbind());
    }
    if let Some(octets) = answer.body().as_ref().and_then(Body::as_full) {
        let chunks: &[Bound<'_, PyBytes>] = if octets.is_empty() { &[] } else { &[PyBytes::new(py, octets)] };
        return Ok(PyList::new(py, chunks)?.into_any().unbind());
    }
    Ok(Py::new(py, answer)?.into_any())
}

fn status_line<'py>(py: Python<'py>, response: &Response) -> PyResult<Bound<'py, PyAny>> {
    let status = response.status();
    let phrase = match reason::of(response) {
        Some(phrase) => phrase.as_bytes(),
        None => status.canonical_reason().unwrap_or("Unknown").as_bytes(),
    };
    latin_1(py, &[status.as_str().as_bytes(), b" ", phrase].concat())
}

fn header_list<'py>(py: Python<'py>, headers: &HeaderMap) -> PyResult<Bound<'py, PyList>> {
    let mut spelled = Vec::with_capacity(32);
    let pairs = headers.iter().map(|(name, value)| PyTuple::new(py, [title_case(py, name, &mut spelled)?, latin_1(py, value.as_bytes())?]));
    PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
}

/// `Content-Type`: names are case-insensitive, but callables look for the usual spelling.
fn title_case<'py>(py: Python<'py>, name: &HeaderName, spelled: &mut Vec<u8>) -> PyResult<Bound<'py, PyAny>> {
    match *name {
        header::ETAG => return Ok(pyo3::intern!(py, "ETag").clone().into_any()),
        header::WWW_AUTHENTICATE => return Ok(pyo3::intern!(py, "WWW-Authenticate").clone().into_any()),
        _ => {}
    }
    let mut begins = true;
    spelled.clear();
    spelled.extend(name.as_str().bytes().map(|letter| {
        let shown = if begins { letter.to_ascii_uppercase() } else { letter };
        begins = letter == b'-';
        shown
    }));
    latin_1(py, spelled)
}

/// The body of a response. Each chunk is made when it is asked for.
#[pyclass(module = "ziggurat")]
pub(in crate::wsgi) struct ResponseIterable {
    /// Until it has ended. (The lock is never contended; it makes the type `Sync`.)
    body: Mutex<Option<Body>>,
    runtime: Arc<Runtime>,
}

impl ResponseIterable {
    fn body(&mut self) -> &mut Option<Body> {
        self.body.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that nobody closes ends in the context of its runtime, too.
impl Drop for ResponseIterable {
    fn drop(&mut self) {
        if let Some(body) = self.body().take() {
            self.runtime.within(|| drop(body));
        }
    }
}

#[pymethods]
impl ResponseIterable {
    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let runtime = Arc::clone(&self.runtime);
        let Some(body) = self.body() else { return Ok(None) };
        match runtime.wait(py, next_chunk(body))? {
            Some(Ok(chunk)) => Ok(Some(PyBytes::new(py, &chunk))),
            Some(Err(error)) => {
                self.close(py);
                Err(raised(&error))
            }
            None => {
                self.close(py);
                Ok(None)
            }
        }
    }

    /// Ends the response, read completely or not.
    fn close(&mut self, py: Python<'_>) {
        if let Some(body) = self.body().take() {
            py.detach(|| self.runtime.within(|| drop(body)));
        }
    }
}

/// The exception for a body that broke off: the one that caused it, if there is one.
fn raised(error: &BoxError) -> PyErr {
    if let Some(error) = Raised::among(error).and_then(Raised::take) {
        return error;
    }
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => PyOSError::new_err(error.to_string()),
        None => PyRuntimeError::new_err(format!("the answer broke off: {error}")),
    }
}
