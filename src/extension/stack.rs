//! `ziggurat.load` and `ziggurat.stack`: stacks for other WSGI servers.
//!
//! A stack is built at once, so that mistakes are raised where it is loaded. Where a server imports a site and then forks, each process builds
//! the stack again at its first request.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyString};

use super::embedded::{EmbeddedStack, Source};
use super::error;
use crate::log;
use crate::pipeline::{Layers, Pipeline, Registry, Report};
use crate::wsgi::Callable;

/// The file name of the layers in messages.
const STACK: &str = "<stack>";

/// A stack of native layers as a WSGI application.
#[pyclass(module = "ziggurat", name = "Stack", frozen)]
pub(super) struct Stack(Arc<EmbeddedStack>);

#[pymethods]
impl Stack {
    fn __call__<'py>(&self, environ: &Bound<'py, PyDict>, start_response: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = environ.py();
        let callable = self.0.callable(py)?;
        callable.bind(py).call1((environ, start_response))
    }

    fn __repr__(&self) -> String {
        format!("<ziggurat.Stack {}>", self.0.summary())
    }
}

/// Builds the stack of a pipeline file. `${NAME}` is looked up in `environ`, by default `os.environ`.
pub(super) fn load(py: Python<'_>, registry: &Registry, path: PathBuf, environ: Option<Bound<'_, PyAny>>) -> PyResult<Stack> {
    log::start();
    let pipeline = read(py, environ, |variable| Pipeline::load(&path, registry, variable)?.anchored())?;
    if !pipeline.warnings().is_empty() {
        tracing::warn!("{}", pipeline.warnings().render(false).trim_end());
    }
    EmbeddedStack::open(py, Source::Pipeline(Box::new(pipeline), OnceLock::new()), registry.host().clone()).map(Stack)
}

/// Builds layers over an app. Their relative paths start at `base`, by default the working folder.
pub(super) fn stack(app: Bound<'_, PyAny>, registry: &Registry, layers: &Bound<'_, PyAny>, base: Option<PathBuf>) -> PyResult<Stack> {
    let py = app.py();
    if !app.is_callable() {
        return Err(PyTypeError::new_err(format!("a WSGI application is callable, and {} is not", app.repr()?)));
    }
    log::start();
    let (text, base) = (layers_text(layers)?, base.unwrap_or_default());
    let layers = read(py, None, |variable| Layers::from_text(STACK, &text, &base, registry, variable))?;
    EmbeddedStack::open(py, Source::Layers(layers, Callable::new(app.unbind())), registry.host().clone()).map(Stack)
}

/// The layers as JSON text, which messages point into.
fn layers_text(layers: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = layers.py();
    if layers.is_instance_of::<PyString>() || layers.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err("`layers` is a list, outermost layer first: `[\"request_id\", {\"compress\": {\"level\": 6}}]`"));
    }
    let dumps = py.import("json")?.getattr("dumps")?;
    // Options may be paths.
    let options = [("ensure_ascii", false.into_pyobject(py)?.to_owned().into_any()), ("default", py.import("os")?.getattr("fspath")?)];
    let options = options.into_py_dict(py)?;
    let lines = layers.try_iter()?.map(|layer| dumps.call((layer?,), Some(&options))?.extract::<String>());
    Ok(format!("[\n  {}\n]\n", lines.collect::<PyResult<Vec<_>>>()?.join(",\n  ")))
}

/// Reads a pipeline without the interpreter, which is attached only to look variables up in `environ`.
fn read<T: Send>(
    py: Python<'_>,
    environ: Option<Bound<'_, PyAny>>,
    parse: impl FnOnce(&dyn Fn(&str) -> Option<OsString>) -> Result<T, Report> + Send,
) -> PyResult<T> {
    let environ = match environ {
        Some(environ) => environ,
        None => py.import("os")?.getattr("environ")?,
    };
    let (environ, failed) = (environ.unbind(), OnceLock::new());
    let variable = |name: &str| {
        let asked = Python::attach(|py| environ.bind(py).call_method1("get", (name,))?.extract::<Option<OsString>>());
        // Of several errors the first is raised.
        asked.map_err(|error| drop(failed.set(error))).ok().flatten()
    };
    let outcome = py.detach(|| parse(&variable));
    match failed.into_inner() {
        Some(error) => Err(error),
        None => outcome.map_err(|report| error::raised(py, &report)),
    }
}
