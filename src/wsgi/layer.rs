//! A Python middleware as a layer.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Context, Effect, Effects, Finding, Findings};

use super::arguments::Arguments;
use super::callable::Callable;
use super::interpreter::{PythonThread, initialize};
use super::load::{Found, Target, import_object};
use super::options::{Workers, Wsgi};

/// Adds a Python WSGI middleware (PEP 3333) to the stack.
///
/// A middleware is anything that takes an application and returns one: a class such as `whitenoise:WhiteNoise`, or a function that returns a
/// callable. Its application is the rest of the stack, native layers included.
///
/// The middleware and everything below it run in the worker processes of the app at the bottom, each request on one thread. Adjacent Python layers
/// call each other directly, and so does a Python layer directly above the app. A native layer between them costs one more conversion per request,
/// and each worker has its own state of it. Put layers whose state all workers have to share (a limit, a cache) above the outermost Python layer.
///
/// A native layer below cannot interrupt Python code: a `timeout` there has no effect on it. Use the `deadline` of the app.
///
/// ```json
/// { "layers": ["request_id", { "wsgi": "mysite.sso:SingleSignOn" }], "app": { "wsgi": "mysite.wsgi:application" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsgiLayer {
    /// The middleware: `package.module:Middleware`, called with the application, `args` and `kwargs`. A name that ends in `()` is a factory: it is
    /// called once with `args` and `kwargs`, and its result is called with the application. `egg:Distribution#name` is an entry point of Paste Deploy:
    /// a `paste.filter_factory` is such a factory, a `paste.filter_app_factory` such a middleware.
    pub(super) middleware: String,
    /// Positional arguments after the application.
    #[serde(default)]
    pub(super) args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default)]
    pub(super) kwargs: Map<String, Value>,
    /// Folders that are searched for modules before Python's own. Default: the folder of the pipeline file.
    #[serde(default)]
    pub(super) path: Option<OneOrMany<PathBuf>>,
    /// Number of worker processes, if there is not exactly one `wsgi` app below, whose `workers` apply otherwise. Default: one per core.
    #[serde(default)]
    pub(super) workers: Option<Workers>,
    /// Threads of each worker, if there is not exactly one `wsgi` app below, whose `threads` apply otherwise. Default: 4.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub(super) threads: Option<u64>,
}

impl WsgiLayer {
    /// `{"wsgi": "pkg:Middleware"}` means `{"wsgi": {"middleware": "pkg:Middleware"}}`.
    pub(crate) const SHORTHAND: Option<&'static str> = Some("middleware");

    /// Checks beyond the types.
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

    /// What it does.
    pub(crate) fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::CallsPython(self.middleware.clone()));
    }

    /// Its `workers` and `threads` as those of an app.
    pub(crate) fn as_app(&self) -> Wsgi {
        Wsgi::alone(&self.middleware, self.workers, self.threads)
    }

    /// The middleware, as in the file.
    pub(crate) fn target(&self) -> &str {
        &self.middleware
    }

    /// The folders that are searched for its module, watched for changes.
    ///
    /// # Errors
    ///
    /// A folder that does not exist.
    pub(crate) fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        super::folders(self.path.as_ref(), context)
    }

    /// Imports the middleware and wraps `below` in it.
    ///
    /// # Errors
    ///
    /// Why it cannot be imported, or the exception that it raised.
    pub(crate) fn over(&self, context: &Context, below: &Callable) -> Result<Callable, Finding> {
        initialize()?;
        let folders = self.folders(context)?;
        let target = Target::parse("middleware", &self.middleware)?;
        let _busy = PythonThread::mark();
        Python::attach(|py| {
            let Found { name, object, is_factory } = import_object(py, &target, &folders)?;
            let (args, kwargs) = Arguments { args: &self.args, kwargs: &self.kwargs }.to_python(py)?;
            let made = if is_factory {
                let factory = target.make(name, &object, |factory| factory.call(args, Some(&kwargs)), "the middleware")?;
                factory.call1((below.object(py),))
            } else {
                let mut all = vec![below.object(py)];
                all.extend(args.iter().map(Bound::unbind));
                object.call(PyTuple::new(py, all)?, Some(&kwargs))
            };
            let made = made.map_err(|error| target.raised(py, name, &error))?;
            if made.is_callable() {
                return Ok(Callable::new(made.unbind()).named(&self.middleware, context.place()));
            }
            Err(target.returned(name, &made).hint("a middleware takes an application and returns one: `Middleware(app)`"))
        })
    }
}
