//! The app on the IO threads. There is no hand-over, and one slow call blocks its thread.

use std::cell::OnceCell;
use std::sync::Arc;

use pyo3::prelude::*;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::application::Application;
use super::interpreter::ThreadState;
use crate::call::{Call, CallSignal, Executor};

/// Runs each call in its own task, on the thread that received the request unless another one is idle.
///
/// It has its own task because a streamed response is read while the app makes it; and the app never moves to another thread during a request.
pub(super) struct Inline {
    application: Arc<Application>,
}

impl Inline {
    pub(super) const fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

impl Executor for Inline {
    fn submit(self: &Arc<Self>, call: Call) -> Result<u64, Call> {
        let number = call.number;
        let application = Arc::clone(&self.application);
        let serve = move || attached(|py| application.serve(py, call));
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            // The only thread has to read what the app sends.
            tokio::task::spawn_blocking(serve);
        } else {
            tokio::spawn(async move { serve() });
        }
        Ok(number)
    }

    /// The app holds the IO thread; it sees a cancellation when it sends.
    fn signal(&self, _: u64, _: CallSignal) {}
}

thread_local! {
    static STATE: OnceCell<ThreadState> = const { OnceCell::new() };
}

/// Runs `work` with the interpreter. The thread keeps its Python state, and with it the app's `threading.local` values.
fn attached(work: impl FnOnce(Python<'_>)) {
    STATE.with(|state| {
        state.get_or_init(ThreadState::keep);
    });
    Python::try_attach(work);
}
