//! Threads that call the app. To Python they are `threading.Thread`s, so that debuggers, coverage and whatever else hooks `threading` reaches them.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};
use rustix::thread::set_name;

use super::interpreter::PythonThread;

/// Starts a thread that runs `work` attached. Returns when it has started.
pub(super) fn start(py: Python<'_>, name: &str, work: impl FnOnce(Python<'_>) + Send + 'static) -> PyResult<()> {
    // Marked here, because this thread may be gone before the new one has come so far.
    let work = Mutex::new(Some((PythonThread::mark(), work)));
    // The name in the process list; Python sets it since 3.14 only.
    let short = CString::new(name).unwrap_or_default();
    let target = PyCFunction::new_closure(py, None, None, move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        // Without it the thread has the name of the process.
        let _ = set_name(&short);
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((Some(busy), work)) = work {
            work(arguments.py());
            drop(busy);
        }
    })?;
    // A daemon: the pool waits for its threads itself, and for no longer than it wants to.
    let options = [("daemon", true)].into_py_dict(py)?;
    options.set_item("target", target)?;
    options.set_item("name", name)?;
    py.import("threading")?.call_method("Thread", (), Some(&options))?.call_method0("start").map(drop)
}
