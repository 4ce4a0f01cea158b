//! The life of a stack in the process of another server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Extensions;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};
use ziggurat_middleware::Lifecycle;

use super::error::raised;
use super::per_process::PerProcess;
use crate::pipeline::{Imported, Layers, Pipeline, Report};
use crate::wsgi::{Callable, Runtime};

/// What a stack is built from. It outlives a fork, so each process can build its own stack.
pub(super) enum Source {
    /// A whole pipeline file, and the apps that have been imported for it.
    Pipeline(Box<Pipeline>, OnceLock<Imported>),
    /// Layers over an app.
    Layers(Layers, Callable),
}

/// A stack that each process builds once.
pub(super) struct EmbeddedStack {
    source: Source,
    host: Extensions,
    built: PerProcess<Built>,
    /// Whether a request has come since it was built.
    is_used: AtomicBool,
}

/// A built stack. Dropping it shuts it down.
struct Built {
    callable: Callable,
    lifecycle: Lifecycle,
    runtime: Arc<Runtime>,
}

impl EmbeddedStack {
    /// Builds a stack. Layers and apps read facts about the program from `host`.
    pub(super) fn open(py: Python<'_>, source: Source, host: Extensions) -> PyResult<Arc<Self>> {
        let stack = Arc::new(Self { source, host, built: PerProcess::default(), is_used: AtomicBool::new(false) });
        stack.build_once(py)?;
        stack.register_hooks(py)?;
        Ok(stack)
    }

    /// The stack, for a request.
    pub(super) fn callable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.is_used.store(true, Ordering::Relaxed);
        self.build_once(py)
    }

    /// The layers and the app, in one line.
    pub(super) fn summary(&self) -> String {
        match &self.source {
            Source::Pipeline(pipeline, _) => pipeline.summary(),
            Source::Layers(layers, _) => layers.summary(),
        }
    }

    /// The stack, built now if this process has not built it yet.
    fn build_once(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let cell = self.built.cell();
        let built = match cell.get() {
            Some(built) => built,
            // Importing apps and middleware attaches to the interpreter, on any thread.
            None => py.detach(|| cell.get_or_try_init(|| self.build())).map_err(|report| raised(py, &report))?,
        };
        Ok(built.callable.object(py))
    }

    fn build(&self) -> Result<Built, Report> {
        let lifecycle = Lifecycle::hosted(self.host.clone());
        let runtime = Arc::new(Runtime::start().map_err(|error| self.report(&format!("no thread can be started: {error}")))?);
        let callable = runtime.within(|| match &self.source {
            Source::Pipeline(pipeline, imported) => {
                let mut known = imported.get().cloned().unwrap_or_default();
                let next = pipeline.build_in_place(&mut known, &lifecycle, &runtime)?;
                imported.get_or_init(|| known);
                Callable::whole(next, &runtime).map_err(|error| self.report(&error.to_string()))
            }
            Source::Layers(layers, app) => layers.build_in_place(app, &lifecycle, &runtime),
        })?;
        Ok(Built { callable, lifecycle, runtime })
    }

    fn report(&self, message: &str) -> Report {
        match &self.source {
            Source::Pipeline(pipeline, _) => pipeline.report(message),
            Source::Layers(layers, _) => layers.report(message),
        }
    }

    /// Registers with Python's `atexit` and `os.register_at_fork`.
    fn register_hooks(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let hook = |act: fn(&Self)| {
            let stack = Arc::downgrade(self);
            PyCFunction::new_closure(py, None, None, move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                if let Some(stack) = stack.upgrade() {
                    arguments.py().detach(|| act(&stack));
                }
            })
        };
        py.import("atexit")?.call_method1("register", (hook(Self::shut_down)?,))?;
        let before = [("before", hook(Self::before_fork)?)].into_py_dict(py)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&before))?;
        Ok(())
    }

    /// Runs the shutdown hooks of the layers. The stack stays for requests that are still inside it.
    fn shut_down(&self) {
        if let Some(built) = self.built.cell().get() {
            built.runtime.shut_down(&built.lifecycle);
        }
    }

    /// Ends the threads of a stack that has served nothing yet. A server that imports its sites before it forks then forks without them.
    fn before_fork(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            drop(self.built.take());
        }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Layers may wait for their threads, and those for the interpreter.
        Python::try_attach(|py| {
            py.detach(|| {
                self.runtime.shut_down(&self.lifecycle);
                self.runtime.end();
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::path::Path;
    use std::process;
    use std::sync::atomic::{AtomicU32, AtomicUsize};
    use std::thread;
    use std::time::{Duration, Instant};

    use schemars::JsonSchema;
    use serde::Deserialize;
    use ziggurat_middleware::{Context, IntoStage, Middleware, Result, from_fn};

    use super::*;
    use crate::pipeline::Registry;

    /// What the task of a layer does: how many run in this process, and the process in which one began last.
    #[derive(Default)]
    struct Seen {
        running: AtomicUsize,
        process: AtomicU32,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    struct Running(Arc<Seen>);

    /// A layer with a background task.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Task {}

    impl Middleware for Task {
        const NAME: &'static str = "task";

        fn layer(self, context: &Context) -> Result<impl IntoStage> {
            let seen = context.host::<Arc<Seen>>().cloned().unwrap_or_default();
            context.spawn(async move {
                seen.running.fetch_add(1, Ordering::SeqCst);
                seen.process.store(process::id(), Ordering::SeqCst);
                let _running = Running(seen);
                pending().await
            });
            Ok(from_fn((), async |(), request, next| next.run(request).await))
        }
    }

    fn stack(py: Python<'_>, seen: &Arc<Seen>) -> Arc<EmbeddedStack> {
        let app = py.eval(c"lambda environ, start_response: []", None, None).unwrap();
        let layers = Layers::from_text("<stack>", r#"["task"]"#, Path::new("."), &Registry::new().layer::<Task>(), &|_| None).unwrap();
        let mut host = Extensions::new();
        host.insert(Arc::clone(seen));
        EmbeddedStack::open(py, Source::Layers(layers, Callable::new(app.unbind())), host).unwrap()
    }

    fn is_soon(holds: impl Fn() -> bool) -> bool {
        let begin = Instant::now();
        while !holds() && begin.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        holds()
    }

    #[test]
    fn tasks_of_layers_run_until_the_stack_is_dropped() {
        crate::wsgi::initialize().unwrap();
        let seen = Arc::<Seen>::default();
        let stack = Python::attach(|py| stack(py, &seen));
        assert!(is_soon(|| seen.running.load(Ordering::SeqCst) == 1));
        drop(stack);
        assert_eq!(seen.running.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_forked_process_runs_tasks_of_its_own_and_leaves_its_parents_alone() {
        crate::wsgi::initialize().unwrap();
        let seen = Arc::<Seen>::default();
        Python::attach(|py| {
            let (stack, os) = (stack(py, &seen), py.import("os").unwrap());
            // A stack that has served a request keeps its threads when the process forks.
            stack.callable(py).unwrap();
            assert!(is_soon(|| seen.process.load(Ordering::SeqCst) == process::id()));
            let child: i32 = os.call_method0("fork").unwrap().extract().unwrap();
            if child == 0 {
                let is_well = stack.callable(py).is_ok() && is_soon(|| seen.process.load(Ordering::SeqCst) == process::id());
                let _ = os.call_method1("_exit", (i32::from(!is_well),));
            }
            let (_, status): (i32, i32) = os.call_method1("waitpid", (child, 0)).unwrap().extract().unwrap();
            assert_eq!((status, seen.running.load(Ordering::SeqCst)), (0, 1));
        });
    }
}
