//! `wsgi.input` of a caller as a request body, read on the caller's thread.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use ziggurat_middleware::{Body, BoxError};

use crate::wsgi::errors::LogContext;
use crate::wsgi::input::Input;
use crate::wsgi::raised::Raised;
use crate::wsgi::start_response::chunk;

/// How much is read at once.
const BLOCK: u64 = 64 * 1024;

/// A body that reads from `wsgi.input`.
pub(super) struct EnvironBody {
    input: Py<PyAny>,
    /// What `CONTENT_LENGTH` still allows. Without one the input has an end.
    left: Option<u64>,
    /// Whether a short body is an error. (A Python layer may have read some of it.)
    is_exact: bool,
    is_ended: bool,
}

impl EnvironBody {
    /// The body of an environ with this `CONTENT_LENGTH`. Without one there is a body only if `wsgi.input_terminated` is set: a read could otherwise
    /// block for ever.
    pub(super) fn of(environ: &Bound<'_, PyDict>, length: Option<u64>, is_exact: bool) -> PyResult<Body> {
        let py = environ.py();
        let is_terminated = || environ.get_item(intern!(py, "wsgi.input_terminated"))?.map_or(Ok(false), |value| value.is_truthy());
        let has_body = match length {
            Some(length) => length > 0,
            None => is_terminated()?,
        };
        let Some(input) = environ.get_item(intern!(py, "wsgi.input"))?.filter(|_| has_body) else { return Ok(Body::empty()) };
        if input.cast_exact::<Input>().is_ok_and(|input| input.try_borrow().is_ok_and(|input| input.is_at_end())) {
            return Ok(Body::empty());
        }
        Ok(Body::new(Self { input: input.unbind(), left: length, is_exact, is_ended: false }))
    }

    fn read(&mut self) -> Result<Option<Bytes>, BoxError> {
        Python::attach(|py| {
            let wanted = self.left.map_or(BLOCK, |left| left.min(BLOCK));
            let read = || -> PyResult<Bytes> {
                // Our input returns what has arrived; `read` would wait for all that it asks for.
                if let Ok(input) = self.input.bind(py).cast_exact::<Input>() {
                    return input.try_borrow_mut()?.chunk(py, usize::try_from(wanted).unwrap_or(usize::MAX));
                }
                let octets = self.input.bind(py).call_method1(intern!(py, "read"), (wanted,))?;
                chunk(&octets)
                    .map(Bytes::from)
                    .map_err(|name| PyTypeError::new_err(format!("wsgi.input.read() must give bytes, not `{name}`")))
            };
            let octets = read().map_err(|error| -> BoxError {
                // A server's exception is about the client. That of a layer may be any other, and is for the layers above.
                if self.is_exact && error.is_instance_of::<PyException>(py) {
                    return error.to_string().into();
                }
                Raised::new(error, LogContext { place: "wsgi.input".into(), head: None }).into()
            })?;
            if octets.is_empty() {
                return match self.left {
                    Some(missing @ 1..) if self.is_exact => Err(format!("{missing} octets are missing").into()),
                    _ => Ok(None),
                };
            }
            self.left = self.left.map(|left| left.saturating_sub(octets.len() as u64));
            Ok(Some(octets))
        })
    }
}

impl HttpBody for EnvironBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let read = self.read();
        // A failed read is not the end: the next one fails, too.
        self.is_ended = matches!(read, Ok(None));
        Poll::Ready(read.map(|octets| octets.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
