//! The way back: a stack as a WSGI callable (PEP 3333), for a Python layer in the middle of a pipeline and for other servers.
//!
//! The caller's own thread runs the stack, and the app at its bottom too ([`Here`](super::in_place::Here)): nothing is handed over, so that no thread
//! ever waits for another one of the same pool. Timers and files of the layers live on a small runtime beside it.

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

use super::raised::Raised;
use super::variables::Keys;

/// Timers, files and tasks of the layers that run on threads of others.
pub(crate) struct Runtime {
    handle: Handle,
    /// Until it is ended.
    running: Mutex<Option<tokio::runtime::Runtime>>,
}

impl Runtime {
    /// Starts it.
    pub(crate) fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("ziggurat-io").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), running: Mutex::new(Some(runtime)) })
    }

    /// Ends a stack whose tasks run here: first these, then what its shutdown hooks end. The interpreter must not be held.
    pub(crate) fn shut_down(&self, lifecycle: &Lifecycle) {
        // What a signal handler raises meanwhile ends the wait and not the tasks, which are cancelled by then.
        let _ = self.within(|| wait::wait(lifecycle.retire()));
        lifecycle.shutdown();
    }

    /// Ends it, and its threads with it: nobody may call the stack any more.
    pub(crate) fn end(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running);
    }

    /// Runs `work` where it finds this runtime.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        work()
    }

    /// Waits for a future on this thread, without the interpreter. What a signal handler raises meanwhile ends that.
    fn wait<T: Send>(&self, py: Python<'_>, future: impl Future<Output = T> + Send) -> PyResult<T> {
        // On a task of somebody else's runtime, that task's budget would run out and nobody would renew it.
        py.detach(|| self.within(|| wait::wait(unconstrained(future))))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Whoever drops it may not wait: it may be a task of the server's.
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
    /// Whether nothing of the same pipeline stands above.
    is_whole: bool,
}

impl ServiceAsWsgi {
    /// What a Python layer calls, or a server that a site was put into: proxies' claims that reach it were judged above, and what is raised below
    /// is for who stands above.
    pub(super) fn below(py: Python<'_>, next: Next, runtime: Arc<Runtime>) -> Self {
        Self { next, runtime, keys: Keys::new(py), is_whole: false }
    }

    /// A whole pipeline in another server. As in our own, proxies' claims are judged in it or not at all, and what is raised in it is answered.
    pub(super) fn whole(py: Python<'_>, next: Next, runtime: Arc<Runtime>) -> Self {
        Self { next, runtime, keys: Keys::new(py), is_whole: true }
    }
}

#[pymethods]
impl ServiceAsWsgi {
    fn __call__(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, start_response: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let request = request::request_of(environ, &self.keys, self.is_whole)?;
        let method = request.method().clone();
        // Layers never block while they are polled, and most are ready at once: to let go of the interpreter for so little would have other
        // threads take it, and this one wait to have it back for the app, and once more for the answer.
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
