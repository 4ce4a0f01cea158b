//! One request through the app: `environ` and `start_response` in, the iterable out, `close()` at the end.

use std::sync::Arc;

use http::StatusCode;
use pyo3::prelude::*;
use ziggurat_middleware::Problem;

use super::environ::Environ;
use super::errors::{Errors, Origin};
use super::input::Input;
use super::iterate::{Stop, close, send_all};
use super::outlet::Outlet;
use super::start_response::StartResponse;
use super::warden::DeadlineExceeded;
use crate::call::{Call, late};

/// A WSGI application: the callable, and what its requests share.
pub(super) struct Application {
    callable: Py<PyAny>,
    environ: Environ,
    place: Arc<str>,
}

impl Application {
    /// `callable` at `place` of the file, called by several threads at once or not, and in several processes or not.
    pub(super) fn new(py: Python<'_>, callable: Py<PyAny>, place: &str, multithread: bool, multiprocess: bool) -> PyResult<Self> {
        Ok(Self { callable, environ: Environ::new(py, multithread, multiprocess)?, place: place.into() })
    }

    /// Its place in the file.
    pub(super) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    /// Serves one request. Whatever the app does, the request has its answer afterwards or its connection is broken off.
    pub(super) fn serve(&self, py: Python<'_>, call: Call) {
        // Who asked may have left while the call waited.
        if call.exit.is_closed() {
            return;
        }
        let head = call.head.view();
        let origin = Origin { place: Arc::clone(&self.place), request_id: head.request_id().map(Into::into) };
        let outlet = Outlet::new(call.exit, head.method() == b"HEAD");
        let made = || -> PyResult<_> {
            let start = Bound::new(py, StartResponse { outlet })?;
            let input = Bound::new(py, Input::new(call.body))?;
            let errors = Bound::new(py, Errors::new(origin.clone()))?;
            let environ = self.environ.of(py, head, &input, &errors)?;
            Ok((start, input, errors, environ))
        };
        let (start, input, errors, environ) = match made() {
            Ok(made) => made,
            // Out of memory, most likely; the dropped outlet answers.
            Err(error) => return origin.log_exception(py, "the request could not be handed to the app", &error),
        };
        match self.callable.bind(py).call1((environ, &start)) {
            Ok(iterable) => {
                // An app that made a server error of the body's failure means what the failure says.
                if !refused(&start, &input, |start| start.outlet.fails()) {
                    let stop = send_all(&iterable, &start, &origin);
                    self.end(py, stop, &start, &input, &origin);
                }
                if let Err(error) = close(&iterable) {
                    origin.log_exception(py, "close() of the app's answer raised", &error);
                }
            }
            Err(error) => self.end(py, Err(Stop::Raised(error)), &start, &input, &origin),
        }
        if let Ok(mut input) = input.try_borrow_mut() {
            input.close();
        }
        if let Ok(mut errors) = errors.try_borrow_mut() {
            errors.flush();
        }
        drop(call.seat);
    }

    /// Ends the answer as the app deserves.
    fn end(&self, py: Python<'_>, stop: Result<(), Stop>, start: &Bound<'_, StartResponse>, input: &Bound<'_, Input>, origin: &Origin) {
        if stop.is_err() && refused(start, input, |_| true) {
            return;
        }
        let Ok(mut start) = start.try_borrow_mut() else {
            return origin.log("the app still uses write() in another thread: the answer ends with it");
        };
        let outlet = &mut start.outlet;
        let outcome = match stop {
            Ok(()) if outlet.has_head() => {
                if let Some(missing) = outlet.finish() {
                    origin.log(&format!(
                        "the app ended its answer {missing} octets short of its Content-Length: the connection is broken off"
                    ));
                }
                return;
            }
            Err(_) if outlet.is_gone() => return,
            Err(Stop::Raised(error)) if error.is_instance_of::<DeadlineExceeded>(py) => {
                origin.log_exception(py, "", &error);
                return outlet.fail(late(), "the request is over its deadline");
            }
            Err(Stop::Raised(error)) => {
                origin.log_exception(py, "the app raised an exception", &error);
                "the app raised an exception".to_owned()
            }
            Ok(()) => origin.said("the app did not call start_response()".to_owned()),
            Err(Stop::Refused(message)) => origin.said(message),
        };
        outlet.fail(Problem::new(StatusCode::INTERNAL_SERVER_ERROR), &outcome);
    }
}

/// Answers for a request whose own body failed, if nothing is sent yet and the app's answer does not matter.
fn refused(start: &Bound<'_, StartResponse>, input: &Bound<'_, Input>, instead: impl Fn(&StartResponse) -> bool) -> bool {
    let (Ok(mut start), Ok(input)) = (start.try_borrow_mut(), input.try_borrow()) else { return false };
    input.failure().is_some_and(|failure| instead(&start) && start.outlet.refuse(failure))
}
