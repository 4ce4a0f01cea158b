//! A Python middleware as a layer: what takes a WSGI app and is one.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Context, Finding, Findings};

use super::callable::Callable;
use super::interpreter::{PythonThread, initialize};
use super::load::{Target, import_object};
use super::options::{Workers, Wsgi};

/// Puts a Python WSGI middleware (PEP 3333) into the stack.
///
/// Anything that takes an application and is one: a class such as `whitenoise:WhiteNoise`, or a function that returns a callable. What it calls
/// as its application is the rest of the stack, native layers included.
///
/// It and all that stands below it run in the worker processes of the app at the bottom, each request on one thread. Python layers next to
/// each other, and those directly above the app, are one call; a native layer between them makes each request cross to Python once more, and
/// has its state once per worker: what all workers are to share (a limit, a cache) belongs above the outermost Python layer.
///
/// A native layer below sees what Python does as one step: a `timeout` there cannot end Python code, which the `deadline` of the app can.
///
/// ```json
/// { "layers": ["request_id", { "wsgi": "mysite.sso:SingleSignOn" }], "app": { "wsgi": "mysite.wsgi:application" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsgiLayer {
    /// The middleware: `package.module:Middleware`, called with the application and with `args` and `kwargs` after it. With `()` at its end it is a
    /// factory, called once with `args` and `kwargs`; what it returns is then called with the application.
    pub(super) middleware: String,
    /// Arguments after the application.
    #[serde(default)]
    pub(super) args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default)]
    pub(super) kwargs: Map<String, Value>,
    /// Folders in which modules are looked for before Python's own. By default the folder of the pipeline file.
    #[serde(default)]
    pub(super) path: Option<OneOrMany<PathBuf>>,
    /// Worker processes, where not exactly one `wsgi` app stands below that says how many there are: then, by default, one per core.
    #[serde(default)]
    pub(super) workers: Option<Workers>,
    /// Threads of each worker, where not exactly one `wsgi` app stands below that says how many there are: then, by default, 4.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1024))]
    pub(super) threads: Option<u64>,
}

impl WsgiLayer {
    /// `{"wsgi": "pkg:Middleware"}` means `{"wsgi": {"middleware": "pkg:Middleware"}}`.
    pub(crate) const SHORTHAND: Option<&'static str> = Some("middleware");

    /// What no type can say.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        match Target::parse("middleware", &self.middleware) {
            Ok(target) if target.is_module() => {
                let finding = Finding::new(format!("`{}` names a module and nothing in it", self.middleware)).at("middleware");
                findings.push(finding.hint(format!("name the middleware: `{}:Middleware`", self.middleware)));
            }
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
        self.as_app().check_size(findings);
    }

    /// Its own workers and threads as those of an app.
    pub(crate) fn as_app(&self) -> Wsgi {
        Wsgi::alone(&self.middleware, self.workers, self.threads)
    }

    /// What it names.
    pub(crate) fn target(&self) -> &str {
        &self.middleware
    }

    /// The folders that its module is looked for in, watched where changes are.
    ///
    /// # Errors
    ///
    /// Which one is not there.
    pub(crate) fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        super::folders(self.path.as_ref(), context)
    }

    /// Imports the middleware and puts it over `below`.
    ///
    /// # Errors
    ///
    /// What keeps it from being imported, or what it raised.
    pub(crate) fn over(&self, context: &Context, below: &Callable) -> Result<Callable, Finding> {
        initialize()?;
        let folders = self.folders(context)?;
        let target = Target::parse("middleware", &self.middleware)?;
        let _busy = PythonThread::mark();
        Python::attach(|py| {
            let (name, found) = import_object(py, &target, &folders)?;
            let (args, kwargs) = self.arguments(py)?;
            let made = if target.is_factory() {
                let factory = target.make(name, &found, |factory| factory.call(args, Some(&kwargs)), "the middleware")?;
                factory.call1((below.object(py),))
            } else {
                let mut all = vec![below.object(py)];
                all.extend(args.iter().map(Bound::unbind));
                found.call(PyTuple::new(py, all)?, Some(&kwargs))
            };
            let made = made.map_err(|error| target.raised(py, name, &error))?;
            if made.is_callable() {
                return Ok(Callable::new(made.unbind()));
            }
            Err(target.returned(name, &made).hint("a middleware takes an application and returns one: `Middleware(app)`"))
        })
    }

    /// `args` and `kwargs` as Python has them.
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let json = py.import("json")?;
        let loaded = |value: &Value| json.call_method1("loads", (value.to_string(),));
        let args = loaded(&Value::from(self.args.clone()))?.cast_into::<PyList>()?.to_tuple();
        let kwargs = loaded(&Value::from(self.kwargs.clone()))?.cast_into::<PyDict>()?;
        Ok((args, kwargs))
    }
}
