//! `start_response`, and the `write` that it returns (PEP 3333).

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};

use super::response_head::{response_head, type_name};
use super::response_writer::{ResponseWriter, Written};

/// Chunks up to this size are copied. Larger ones keep the Python object alive.
pub(super) const COPIED: usize = 32 * 1024;

/// The `start_response` of one request, and the state of its response.
#[pyclass(module = "ziggurat")]
pub(super) struct StartResponse {
    pub(super) writer: ResponseWriter,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__(
        slf: Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        {
            let start = slf.try_borrow()?;
            match &exc_info {
                Some(exc_info) if start.writer.is_sent() => return Err(again(exc_info)),
                Some(_) => {}
                None if start.writer.is_over() || start.writer.is_sent() => {
                    return Err(PyAssertionError::new_err("start_response() was called after the response had begun"));
                }
                None if start.writer.has_head() => {
                    return Err(PyAssertionError::new_err("start_response() was called a second time without exc_info"));
                }
                None => {}
            }
        }
        let head = response_head(status, headers)?;
        slf.try_borrow_mut()?.writer.set_head(head);
        Ok(Write { start: slf.unbind() })
    }
}

/// The exception of `exc_info`, to be raised again.
fn again(exc_info: &Bound<'_, PyAny>) -> PyErr {
    let raised = exc_info.cast::<PyTuple>().map_err(PyErr::from).and_then(|exc_info| {
        let value = exc_info.get_item(1)?;
        value.call_method1("with_traceback", (exc_info.get_item(2)?,))
    });
    match raised {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyTypeError::new_err("exc_info must be what sys.exc_info() gives"),
    }
}

/// The `write` that `start_response` returns. It sends at once.
#[pyclass(module = "ziggurat", frozen)]
pub(super) struct Write {
    start: Py<StartResponse>,
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let chunk = chunk(data).map_err(|_| PyTypeError::new_err(format!("write() takes bytes, not `{}`", type_name(data))))?;
        if chunk.as_ref().is_empty() {
            return Ok(());
        }
        let mut start = self.start.bind(py).try_borrow_mut()?;
        if start.writer.is_over() && start.writer.is_gone() {
            return Err(PyBrokenPipeError::new_err("the client left"));
        }
        match send(py, &mut start.writer, chunk) {
            Written::TooLong => Err(PyRuntimeError::new_err("write() goes beyond the response's Content-Length")),
            Written::Enough if start.writer.is_gone() => Err(PyBrokenPipeError::new_err("the client left")),
            _ => Ok(()),
        }
    }
}

/// The octets of a bytes object. Whoever only reads them makes no copy.
pub(super) struct Chunk<'a, 'py>(pub(super) &'a Bound<'py, PyBytes>);

/// A chunk of a bytes object. The error is the name of another type.
pub(super) fn chunk<'a, 'py>(data: &'a Bound<'py, PyAny>) -> Result<Chunk<'a, 'py>, String> {
    data.cast().map(Chunk).map_err(|_| type_name(data))
}

impl AsRef<[u8]> for Chunk<'_, '_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<Chunk<'_, '_>> for Bytes {
    fn from(Chunk(data): Chunk<'_, '_>) -> Self {
        match data.as_bytes() {
            octets if octets.len() <= COPIED => Self::copy_from_slice(octets),
            _ => Self::from_owner(PyBackedBytes::from(data.clone())),
        }
    }
}

/// Sends a chunk. Detaches to wait for room.
pub(super) fn send(py: Python<'_>, writer: &mut ResponseWriter, chunk: impl AsRef<[u8]> + Into<Bytes>) -> Written {
    match writer.write(chunk) {
        Written::Held(chunk) => py.detach(|| writer.wait(chunk)),
        written => written,
    }
}
