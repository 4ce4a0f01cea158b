//! The socket of a WebSocket, where libraries look for it.
//!
//! PEP 3333 has no WebSockets. simple-websocket, and with it flask-sock and Flask-SocketIO, take the connection's socket from the environ, as other
//! servers leave it there, and speak the protocol on it.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::exceptions::{PyConnectionError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// Puts the socket into an environ, under the keys of werkzeug's server and of gunicorn. It blocks and has no timeout: libraries do not repeat a `send()`
/// that was incomplete.
pub(super) fn put(environ: &Bound<'_, PyDict>, socket: OwnedFd) -> PyResult<()> {
    let py = environ.py();
    let fileno = [("fileno", socket.as_raw_fd())].into_py_dict(py)?;
    let object = py.import(intern!(py, "socket"))?.getattr(intern!(py, "socket"))?.call((), Some(&fileno))?;
    // The object closes it from now on.
    let _ = socket.into_raw_fd();
    // The app may have set a default timeout.
    object.call_method1(intern!(py, "settimeout"), (py.None(),))?;
    environ.set_item(intern!(py, "werkzeug.socket"), &object)?;
    environ.set_item(intern!(py, "gunicorn.socket"), &object)
}

/// Whether the server of an environ left its socket there for a WebSocket.
pub(super) fn is_there(environ: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = environ.py();
    let has_socket = environ.contains(intern!(py, "werkzeug.socket"))? || environ.contains(intern!(py, "gunicorn.socket"))?;
    Ok(has_socket && environ.contains(intern!(py, "HTTP_UPGRADE"))?)
}

/// Whether an exception only says that the socket was used: flask-sock and python-engineio end such a request with one of these, as the servers that
/// they know expect it.
pub(super) fn is_end(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyStopIteration>(py) || error.is_instance_of::<PyConnectionError>(py)
}
