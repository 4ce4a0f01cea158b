//! The app on the IO threads: nothing is handed over, and one slow call stops everything on its thread.

use std::cell::OnceCell;
use std::sync::Arc;

use pyo3::prelude::*;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::application::Application;
use super::interpreter::ThreadState;
use crate::call::{Call, CallSignal, Executor};

/// Serves each call in a task of its own, on the thread that brought it unless another one is idle.
///
/// A task of its own, because an answer that is streamed must be read while the app makes it; and the app is never moved to another
/// thread in the middle of a request.
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
            // The only thread has to stay free to read what the app sends.
            tokio::task::spawn_blocking(serve);
        } else {
            tokio::spawn(async move { serve() });
        }
        Ok(number)
    }

    /// The app holds the IO thread: what the call's end means for it, it learns when it sends.
    fn signal(&self, _: u64, _: CallSignal) {}
}

thread_local! {
    static STATE: OnceCell<ThreadState> = const { OnceCell::new() };
}

/// Runs `work` with the interpreter; the thread keeps its Python state, and with it the app's `threading.local` values.
fn attached(work: impl FnOnce(Python<'_>)) {
    STATE.with(|state| {
        state.get_or_init(ThreadState::keep);
    });
    Python::try_attach(work);
}
