//! A stack as a WSGI callable (PEP 3333), for a Python layer inside a pipeline and for other servers.
//!
//! The caller's thread polls the stack and runs the app below it ([`InPlace`](super::in_place::InPlace)), so no thread ever waits for another one of
//! the same pool. A small runtime drives the timers, files and tasks of the layers.

mod body;
mod request;
mod response;
mod wait;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use ziggurat_middleware::{Lifecycle, Next};

pub(super) use request::Caller;
pub(in crate::wsgi) use response::ResponseIterable;

use super::raised::Raised;
use super::variables::Keys;

/// The runtime for timers, files and tasks of layers that are polled by Python's threads.
pub(crate) struct Runtime {
    handle: Handle,
    /// Until it is shut down.
    running: Mutex<Option<tokio::runtime::Runtime>>,
}

impl Runtime {
    /// Starts its thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("ziggurat-io").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), running: Mutex::new(Some(runtime)) })
    }

    /// Shuts a stack down whose tasks run here: ends the tasks, then runs the shutdown hooks. Must be called without the interpreter.
    pub(crate) fn shut_down(&self, lifecycle: &Lifecycle) {
        // The exception of a signal handler ends the wait; the tasks are cancelled by then.
        let _ = self.within(|| wait::wait(lifecycle.retire()));
        lifecycle.shutdown();
    }

    /// Ends its threads. The stack must not be called any more.
    pub(crate) fn end(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running);
    }

    /// Runs `work` in the context of this runtime.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        work()
    }

    /// Blocks this thread until the future is ready, detached. An exception of a signal handler ends the wait.
    fn wait<T: Send>(&self, py: Python<'_>, future: impl Future<Output = T> + Send) -> PyResult<T> {
        // On a task of another runtime, that task's budget would be used up, and nobody would renew it.
        py.detach(|| self.within(|| wait::wait(unconstrained(future))))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Dropping must not block: this may be a task of the server.
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.shutdown_background();
        }
    }
}

/// A stack that Python can call.
#[pyclass(module = "ziggurat", name = "Below", frozen)]
pub(super) struct ServiceAsWsgi {
    next: Next,
    runtime: Arc<Runtime>,
    keys: Keys,
    /// Whether no layer of the same pipeline is above.
    is_whole: bool,
}

impl ServiceAsWsgi {
    /// What a Python layer calls, or another server above which a site's layers are: the claims of proxies have been judged above, and exceptions are
    /// for the caller.
    pub(super) fn below(py: Python<'_>, next: Next, runtime: Arc<Runtime>) -> Self {
        Self { next, runtime, keys: Keys::new(py), is_whole: false }
    }

    /// A whole pipeline in another server. As in our server, its own layers judge the claims of proxies, and exceptions become responses.
    pub(super) fn whole(py: Python<'_>, next: Next, runtime: Arc<Runtime>) -> Self {
        Self { next, runtime, keys: Keys::new(py), is_whole: true }
    }
}

#[pymethods]
impl ServiceAsWsgi {
    fn __call__(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, start_response: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let request = request::request_of(environ, &self.keys, self.is_whole)?;
        let method = request.method().clone();
        // Layers never block while they are polled, and most are ready at once. Detaching for so short a time would let other threads attach, and
        // this one wait for the interpreter before the app and again before the response.
        let (answer, first) = self.runtime.within(|| {
            let mut answer = unconstrained(self.next.send(request));
            let first = Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop()));
            (answer, first)
        });
        let response = match first {
            Poll::Ready(response) => response,
            Poll::Pending => self.runtime.wait(py, answer)?,
        };
        let mut response = response.unwrap_or_else(|never| match never {});
        if let Some(error) = Raised::behind(py, &mut response, self.is_whole) {
            return Err(error);
        }
        response::give(py, response, self.is_whole.then_some(&method), start_response, &self.runtime)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn tasks_end_before_shutdown_hooks_run() {
        let (runtime, lifecycle) = (Runtime::start().unwrap(), Lifecycle::default());
        let (running, ended) = mpsc::channel::<()>();
        let context = ziggurat_middleware::Context::new("keys", Path::new("/"), lifecycle.clone());
        runtime.within(|| {
            context.spawn(async move {
                let _running = running;
                pending().await
            });
        });
        let (hook, seen) = mpsc::channel();
        context.on_shutdown(move || hook.send(ended.try_recv()).unwrap());
        runtime.shut_down(&lifecycle);
        assert_eq!(seen.recv(), Ok(Err(mpsc::TryRecvError::Disconnected)));
    }
}
