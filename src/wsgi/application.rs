//! One request through the app: the app is called with `environ` and `start_response`, its iterable is sent, and `close()` is called at the end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use pyo3::exceptions::PyBrokenPipeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use ziggurat_middleware::Problem;
use ziggurat_middleware::timing::RequestClock;

use super::callable::Callable;
use super::early_hints;
use super::environ::{Concurrency, Environ};
use super::errors::{Errors, LogContext};
use super::forked::Owner;
use super::input::Input;
use super::interpreter::try_attach;
use super::iterate::{AppError, AppIterable, close};
use super::lint::{self, Border};
use super::raised::Raised;
use super::response_writer::ResponseWriter;
use super::service_as_wsgi::Caller;
use super::start_response::StartResponse;
use super::timed::{EnvironClock, TimedCallable};
use super::watchdog::DeadlineExceeded;
use super::websocket;
use crate::call::head::Head;
use crate::call::hints::HintSender;
use crate::call::responder::Responder;
use crate::call::{Call, RequestBody, late};

/// A WSGI application: the callable, and what its requests share.
pub(super) struct Application {
    callable: Py<PyAny>,
    environ: Environ,
    place: Arc<str>,
    /// The process that answers, if the app may fork others.
    owner: Option<Owner>,
    /// Whether it is a stack that is timed.
    is_stack: bool,
    /// Between the server and the callable.
    border: Arc<Border>,
}

/// Where a call comes from.
pub(super) struct CallOrigin<'a> {
    /// For a request that asks for a WebSocket.
    pub(super) socket: Option<OwnedFd>,
    /// Of a call that is timed.
    pub(super) clock: Option<RequestClock>,
    /// For a request whose client takes hints. (A Python caller has put its own into the environ.)
    pub(super) hints: Option<HintSender>,
    /// The Python caller, if there is one: exceptions of the app are for it.
    pub(super) outer: Option<&'a Caller>,
}

impl Application {
    /// `callable` at `place`.
    pub(super) fn new(py: Python<'_>, callable: &Callable, place: &str, concurrency: Concurrency) -> PyResult<Self> {
        let border = Arc::new(Border::new(None, callable.name()));
        let callable = callable.object(py);
        let is_stack = callable.bind(py).is_exact_instance_of::<TimedCallable>();
        Ok(Self { callable, environ: Environ::new(py, concurrency)?, place: place.into(), owner: None, is_stack, border })
    }

    /// Only this process answers calls. One that the app forks ends when it returns from the app.
    pub(super) fn owned(self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self { owner: Some(Owner::this(py)?), ..self })
    }

    /// Its place.
    pub(super) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    /// Leaves the clock for the layers of a stack.
    fn put_clock(&self, environ: &Bound<'_, PyDict>, clock: Option<&RequestClock>) -> PyResult<()> {
        clock.filter(|_| self.is_stack).map_or(Ok(()), |clock| EnvironClock::put(environ, clock.clone()))
    }

    /// Runs one call, which this thread has begun with at that moment. Whatever the app does, the response is complete afterwards or broken off.
    pub(super) fn serve(&self, py: Python<'_>, call: Call, begun: Instant) {
        // The client may have left while the call waited.
        if call.responder.is_closed() {
            return;
        }
        call.begin(begun);
        let (body, socket) = match call.body {
            RequestBody::WebSocket(socket) => (RequestBody::Whole(Bytes::new()), Some(socket)),
            body => (body, None),
        };
        let from = CallOrigin { socket, clock: call.clock, hints: call.hints, outer: None };
        if let Some(mut invocation) = self.begin(py, &call.head, Input::new(body), call.responder, from) {
            while invocation.step(py) {}
        }
    }

    /// Calls the app. Returns `None` if the response is complete.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        head: &Head,
        input: Input,
        responder: Responder,
        CallOrigin { socket, clock, hints, outer }: CallOrigin<'_>,
    ) -> Option<Invocation> {
        let context = LogContext { place: Arc::clone(&self.place), head: Some(head.clone()) };
        let head = head.view();
        let writer = ResponseWriter::new(responder, head.method() == b"HEAD");
        let is_websocket = socket.is_some();
        let made = || -> PyResult<_> {
            let start = Bound::new(py, StartResponse { writer })?;
            let input = Bound::new(py, input)?;
            let (environ, errors, outer) = match outer {
                Some(caller) => {
                    let environ = caller.environ.bind(py);
                    let outer = OuterEnviron::of(environ)?;
                    let environ = self.environ.over(environ, caller.head.view(), head, &input)?;
                    self.put_clock(&environ, clock.as_ref())?;
                    (environ, None, Some(outer))
                }
                None => {
                    let errors = Bound::new(py, Errors::new(context.clone()))?;
                    let environ = self.environ.of(py, head, &input, &errors)?;
                    if let Some(socket) = socket {
                        websocket::put(&environ, socket)?;
                    }
                    if let Some(hints) = hints {
                        early_hints::put(&environ, hints, &start)?;
                    }
                    self.put_clock(&environ, clock.as_ref())?;
                    (environ, Some(errors.unbind()), None)
                }
            };
            Ok((start, input, errors, environ, outer))
        };
        let (start, input, errors, environ, outer) = match made() {
            Ok(made) => made,
            // Out of memory, most likely. The dropped writer answers.
            Err(error) => {
                context.log_exception(py, "the app could not be called", &error);
                return None;
            }
        };
        let mut invocation = Invocation {
            answer: AppIterable::Sent,
            iterable: None,
            start: start.clone().unbind(),
            input: input.unbind(),
            errors,
            context,
            is_websocket,
            owner: self.owner,
            clock: clock.filter(|_| outer.is_none()),
            outer,
        };
        let callable = self.callable.bind(py);
        let called = match lint::of(&environ).filter(|_| !is_websocket) {
            Some(lint) => self.border.call(callable, &environ, &start, lint),
            None => callable.call1((environ, &start)),
        };
        if let Some(owner) = self.owner {
            owner.end_others(py, called.as_ref().err());
        }
        match called {
            Ok(iterable) => {
                let failed = invocation.is_refused(py, |start| start.writer.fails());
                invocation.iterable = Some(iterable.clone().unbind());
                if failed {
                    // An app that turned the body's failure into a server error means the failure.
                    invocation.close(py);
                    return None;
                }
                invocation.answer = AppIterable::Returned(iterable.unbind());
                Some(invocation)
            }
            Err(error) => {
                invocation.end(py, Err(AppError::Raised(error)));
                None
            }
        }
    }
}

/// A request that the app has begun to answer. Dropping it ends it as if the client had left.
pub(super) struct Invocation {
    answer: AppIterable,
    /// What the app returned, until it is closed.
    iterable: Option<Py<PyAny>>,
    start: Py<StartResponse>,
    input: Py<Input>,
    errors: Option<Py<Errors>>,
    context: LogContext,
    /// Whether the app may have responded on its socket.
    is_websocket: bool,
    owner: Option<Owner>,
    /// Of a call that is timed, without a Python caller.
    clock: Option<RequestClock>,
    /// The Python caller, if there is one: exceptions of the app are for it.
    outer: Option<OuterEnviron>,
}

/// The environ of a Python caller while the app below uses it.
struct OuterEnviron {
    environ: Py<PyDict>,
    /// The caller's own values of the keys that the app below sees with ours.
    lent: [(Py<PyString>, Option<Py<PyAny>>); 3],
}

impl Invocation {
    /// Sends more of the response. Returns whether there is more to do; the last step closes what the app returned.
    pub(super) fn step(&mut self, py: Python<'_>) -> bool {
        let stepped = self.answer.step(py, self.start.bind(py), &self.context);
        if let Some(owner) = self.owner {
            let error = stepped.as_ref().err().and_then(AppError::raised);
            owner.end_others(py, error);
        }
        match stepped {
            Ok(true) => true,
            Ok(false) => {
                self.end(py, Ok(()));
                false
            }
            Err(stop) => {
                self.answer = AppIterable::Sent;
                self.end(py, Err(stop));
                false
            }
        }
    }

    /// Ends the response and closes what the app returned.
    fn end(&mut self, py: Python<'_>, stop: Result<(), AppError>) {
        self.finish(py, stop);
        self.close(py);
    }

    fn finish(&self, py: Python<'_>, stop: Result<(), AppError>) {
        // Before the end of the body, with which the server counts the request.
        if let Some(clock) = &self.clock {
            clock.report_to_server();
        }
        if stop.is_err() && self.is_refused(py, |_| true) {
            return;
        }
        let context = &self.context;
        let Ok(mut start) = self.start.bind(py).try_borrow_mut() else {
            return context.log("the app still uses write() in another thread: the response ends with it");
        };
        let writer = &mut start.writer;
        let outcome = match stop {
            Ok(()) if writer.has_head() => {
                if let Some(missing) = writer.finish() {
                    context.log(&format!(
                        "the app ended its answer {missing} octets short of its Content-Length: the connection is broken off"
                    ));
                }
                return;
            }
            Err(AppError::Raised(error)) if self.outer.is_some() => return writer.raise(Raised::new(error, context.clone())),
            Err(AppError::Refused(_)) if writer.is_gone() => return,
            // What `write()` raises then is no error of the app.
            Err(AppError::Raised(error)) if writer.is_gone() && error.is_instance_of::<PyBrokenPipeError>(py) => return,
            // The server sees whether the app has used its socket.
            Ok(()) | Err(AppError::Refused(_)) if self.is_websocket && !writer.has_head() => return writer.abandon(),
            Err(AppError::Raised(error)) if self.is_websocket && websocket::is_end(py, &error) => return writer.abandon(),
            Err(AppError::Raised(error)) if error.is_instance_of::<DeadlineExceeded>(py) => {
                context.log_exception(py, "", &error);
                return writer.fail(late(), "the request is over its deadline");
            }
            Err(AppError::Raised(error)) => {
                context.log_exception(py, "the app raised an exception", &error);
                "the app raised an exception".to_owned()
            }
            Ok(()) => context.log_and_return("the app did not call start_response()".to_owned()),
            Err(AppError::Refused(message)) => context.log_and_return(message),
        };
        writer.fail(Problem::new(StatusCode::INTERNAL_SERVER_ERROR), &outcome);
    }

    /// Calls `close()` of what the app returned, and restores the caller's environ.
    fn close(&mut self, py: Python<'_>) {
        if let Some(iterable) = self.iterable.take()
            && let Err(error) = close(iterable.bind(py))
        {
            self.context.log_exception(py, "close() of the app's response raised an exception", &error);
        }
        if let Ok(mut input) = self.input.bind(py).try_borrow_mut() {
            input.close();
        }
        if let Some(outer) = self.outer.take()
            && let Err(error) = outer.give_back(py, self.input.bind(py))
        {
            self.context.log_exception(py, "the caller's environ cannot be restored", &error);
        }
        if let Some(errors) = &self.errors
            && let Ok(mut errors) = errors.bind(py).try_borrow_mut()
        {
            errors.flush();
        }
    }

    /// Answers for a request whose body failed, if nothing is sent yet and `instead` allows it.
    fn is_refused(&self, py: Python<'_>, instead: impl Fn(&StartResponse) -> bool) -> bool {
        let (Ok(mut start), Ok(input)) = (self.start.bind(py).try_borrow_mut(), self.input.bind(py).try_borrow()) else { return false };
        input.failure().is_some_and(|failure| instead(&start) && start.writer.refuse(failure))
    }
}

impl OuterEnviron {
    fn of(environ: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = environ.py();
        let lent = |key: &Bound<'_, PyString>| -> PyResult<_> { Ok((key.clone().unbind(), environ.get_item(key)?.map(Bound::unbind))) };
        let lent = [lent(intern!(py, "wsgi.input"))?, lent(intern!(py, "wsgi.input_terminated"))?, lent(intern!(py, "wsgi.file_wrapper"))?];
        Ok(Self { environ: environ.clone().unbind(), lent })
    }

    /// Restores the caller's own `wsgi.input`: the caller may read what the app left, or call the app again.
    fn give_back(self, py: Python<'_>, ours: &Bound<'_, Input>) -> PyResult<()> {
        let environ = self.environ.bind(py);
        if !environ.get_item(intern!(py, "wsgi.input"))?.is_some_and(|input| input.is(ours)) {
            return Ok(());
        }
        self.lent.into_iter().try_for_each(|(key, before)| match before {
            Some(before) => environ.set_item(key, before),
            None if environ.contains(&key)? => environ.del_item(key),
            None => Ok(()),
        })
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        if self.iterable.is_some() {
            try_attach(|py| self.close(py));
        }
    }
}
