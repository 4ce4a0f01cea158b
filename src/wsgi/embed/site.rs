//! A stack in the process of another server, from its plan to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Extensions;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};
use ziggurat_middleware::Lifecycle;

use super::error::raised;
use super::per_process::PerProcess;
use crate::pipeline::{Imported, Layers, Pipeline, Report};
use crate::wsgi::callable::Callable;
use crate::wsgi::way_back::Runtime;

/// What a stack is built from, as often as that has to be.
pub(super) enum Plan {
    /// All of a file, and the apps that were imported for it.
    Whole(Box<Pipeline>, OnceLock<Imported>),
    /// Layers over an app.
    Layers(Layers, Callable),
}

/// A plan, and what this process has built by it.
pub(super) struct Site {
    plan: Plan,
    host: Extensions,
    built: PerProcess<Built>,
    /// Whether requests came since it was built.
    is_used: AtomicBool,
}

/// A stack in use. Dropped, it is ended.
struct Built {
    callable: Callable,
    lifecycle: Lifecycle,
    runtime: Arc<Runtime>,
}

impl Site {
    /// Builds a stack. `host` is what its layers and apps may know about the program.
    pub(super) fn open(py: Python<'_>, plan: Plan, host: Extensions) -> PyResult<Arc<Self>> {
        let site = Arc::new(Self { plan, host, built: PerProcess::default(), is_used: AtomicBool::new(false) });
        site.ready(py)?;
        site.follow(py)?;
        Ok(site)
    }

    /// The stack, for a request.
    pub(super) fn callable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.is_used.store(true, Ordering::Relaxed);
        self.ready(py)
    }

    /// What stands in it, in one line.
    pub(super) fn summary(&self) -> String {
        match &self.plan {
            Plan::Whole(pipeline, _) => pipeline.summary(),
            Plan::Layers(layers, _) => layers.summary(),
        }
    }

    /// The stack, built now if this process has not done so.
    fn ready(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let slot = self.built.slot();
        let built = match slot.get() {
            Some(built) => built,
            // The apps and middleware that are imported want the interpreter, on whatever threads.
            None => py.detach(|| slot.get_or_make(|| self.build())).map_err(|report| raised(py, &report))?,
        };
        Ok(built.callable.object(py))
    }

    fn build(&self) -> Result<Built, Report> {
        let lifecycle = Lifecycle::hosted(self.host.clone());
        let runtime = Arc::new(Runtime::start().map_err(|error| self.report(&format!("no thread can be started: {error}")))?);
        let callable = runtime.within(|| match &self.plan {
            Plan::Whole(pipeline, imported) => {
                let mut known = imported.get().cloned().unwrap_or_default();
                let next = pipeline.build_here(&mut known, &lifecycle, &runtime)?;
                imported.get_or_init(|| known);
                Callable::whole(next, &runtime).map_err(|error| self.report(&error.to_string()))
            }
            Plan::Layers(layers, app) => layers.build_here(app, &lifecycle, &runtime),
        })?;
        Ok(Built { callable, lifecycle, runtime })
    }

    fn report(&self, message: &str) -> Report {
        match &self.plan {
            Plan::Whole(pipeline, _) => pipeline.report(message),
            Plan::Layers(layers, _) => layers.report(message),
        }
    }

    /// Has Python tell when the interpreter ends, and before it forks.
    fn follow(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let hook = |act: fn(&Self)| {
            let site = Arc::downgrade(self);
            PyCFunction::new_closure(py, None, None, move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                if let Some(site) = site.upgrade() {
                    arguments.py().detach(|| act(&site));
                }
            })
        };
        py.import("atexit")?.call_method1("register", (hook(Self::end)?,))?;
        let before = [("before", hook(Self::rest)?)].into_py_dict(py)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&before))?;
        Ok(())
    }

    /// Has the layers write out what they hold. The stack stays for requests that are still inside.
    fn end(&self) {
        if let Some(built) = self.built.slot().get() {
            built.lifecycle.shutdown();
        }
    }

    /// Ends the threads of a stack that has served nothing yet: a server that imports its sites before it forks has then none to fork.
    fn rest(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            drop(self.built.take());
        }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Layers may wait for threads of theirs, and those for the interpreter.
        Python::try_attach(|py| {
            py.detach(|| {
                self.lifecycle.shutdown();
                self.runtime.end();
            });
        });
    }
}
