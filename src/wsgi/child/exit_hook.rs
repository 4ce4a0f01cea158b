//! The callable that hears of the ends of other workers.

use std::sync::Arc;
use std::thread;

use pyo3::prelude::*;
use ziggurat_middleware::Finding;

use super::super::app_thread;
use super::super::errors::format_exception;
use super::super::interpreter::try_attach;
use super::super::load::{Target, import_object};
use crate::worker::boot::{Boot, WorkerEnded};

/// The option `worker_exit`, imported.
pub(super) struct ExitHook(Arc<Py<PyAny>>);

impl ExitHook {
    /// Imports the hook of the app, if it has one.
    pub(super) fn import(boot: &Boot) -> Result<Option<Self>, Finding> {
        let Some(name) = &boot.worker_exit else { return Ok(None) };
        let target = Target::parse("worker_exit", name)?;
        Python::attach(|py| {
            let hook = import_object(py, &target, &boot.path)?.object;
            if !hook.is_callable() {
                return Err(Finding::new(format!("`{name}` is not callable")).at("worker_exit"));
            }
            Ok(Some(Self(Arc::new(hook.unbind()))))
        })
    }

    /// Calls it in a thread of its own: this one must not wait for the interpreter.
    pub(super) fn call(&self, ended: WorkerEnded) {
        let hook = Arc::clone(&self.0);
        let run = move |py: Python<'_>| {
            if let Err(error) = hook.bind(py).call1((ended.pid, ended.cause)) {
                tracing::error!("the hook `worker_exit` raised an exception\n{}", format_exception(py, &error).trim_end());
            }
        };
        let started = thread::Builder::new().name("worker-exit".to_owned()).spawn(move || {
            try_attach(|py| {
                if let Err(error) = app_thread::start(py, "worker-exit", run) {
                    tracing::error!("the hook `worker_exit` cannot be called: {error}");
                }
            });
        });
        if let Err(error) = started {
            tracing::error!("the hook `worker_exit` cannot be called: {error}");
        }
    }
}
