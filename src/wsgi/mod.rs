//! The WSGI bridge (PEP 3333): calls Python, and lets Python call stacks.
//!
//! [`Wsgi`] is the app. Its service (`terminal`) makes a `Call` of each request: the head as CGI variables in one buffer, the body, and
//! the way back. An `Executor` brings calls to the interpreter: worker processes, a pool of Python threads in this process, or the IO threads
//! themselves. From there on (`application`) everything exists once: environ, input, start_response, iteration, close() and what becomes of errors.

mod application;
mod callable;
pub(crate) mod child;
mod environ;
mod errors;
mod executor;
mod file_wrapper;
mod in_place;
mod inline;
mod input;
// The interpreter's own start, end and thread states have no safe calls.
#[allow(unsafe_code)]
mod interpreter;
mod iterate;
mod layer;
mod load;
mod options;
mod raised;
mod response_head;
mod response_writer;
mod service_as_wsgi;
mod start_response;
mod thread_pool;
mod variables;
mod worker_pool;
// An exception can be raised in another thread by no safe call.
#[allow(unsafe_code)]
mod watchdog;

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{App, Behavior, Context, Finding, Findings, IntoApp, Next, Place};

use crate::worker::boot::Refusal;
pub(crate) use callable::Callable;
pub(crate) use executor::Called;
pub use interpreter::{finalize, initialize};
pub use layer::WsgiLayer;
use load::import;
pub(crate) use load::is_dotted_name;
use options::Workers;
pub use options::Wsgi;
pub(crate) use service_as_wsgi::Runtime;
pub(crate) use thread_pool::STACK;
pub(crate) use watchdog::DeadlineExceeded;

impl App for Wsgi {
    const NAME: &'static str = "wsgi";
    const SHORTHAND: Option<&'static str> = Some("app");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::RunsPython];

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let called = Called { name: &self.app, stack: None, callable: &|| self.import(context).map_err(Refusal::from) };
        Ok(Erased(self.serve(context, &called)?))
    }
}

impl Wsgi {
    /// Imports the app into this process.
    ///
    /// # Errors
    ///
    /// What keeps it from being imported.
    pub(crate) fn import(&self, context: &Context) -> Result<Callable, Finding> {
        self.set_variables()?;
        Ok(Callable::new(import(&self.app, &self.folders(context)?)?))
    }

    /// The folders that its module is looked for in, watched where changes are.
    ///
    /// # Errors
    ///
    /// Which one is not there.
    pub(crate) fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        folders(self.path.as_ref(), context)
    }

    /// Puts `env` into this process's environment, as Python has it.
    fn set_variables(&self) -> Result<(), Finding> {
        if self.env.is_empty() {
            return Ok(());
        }
        initialize()?;
        Python::attach(|py| {
            let environ = py.import("os")?.getattr("environ")?;
            self.env.iter().try_for_each(|(name, value)| environ.set_item(name, value))
        })
        .map_err(|error: PyErr| Finding::from(error).at("env"))
    }

    /// How many workers and threads, where the app is started anew at every change. Modules in this process could not be imported anew, and of
    /// several workers each would have to start.
    fn while_watched(&self, context: &Context) -> (usize, usize) {
        match self.workers {
            Workers::Number(0) => {
                tracing::warn!(
                    "{}: changes are seen in a process of the app's own only: with `--watch` it has one worker",
                    context.place()
                );
                (1, self.threads().max(1))
            }
            // Threads kept for routes may be those of several.
            Workers::Auto if context.reserves().is_empty() => (1, self.threads()),
            workers => (workers.count(), self.threads()),
        }
    }
}

/// The folders that modules are looked for in, watched where changes are: those of the option `path`, or the pipeline file's.
fn folders(path: Option<&OneOrMany<PathBuf>>, context: &Context) -> Result<Vec<PathBuf>, Finding> {
    let folders = match path {
        Some(path) => path
            .0
            .iter()
            .enumerate()
            .map(|(nth, folder)| {
                existing(context, folder).map_err(|finding| if path.0.len() > 1 { finding.at("path").at(nth) } else { finding.at("path") })
            })
            .collect::<Result<_, _>>()?,
        None => vec![context.resolve(".").canonicalize().unwrap_or_else(|_| context.resolve(""))],
    };
    folders.iter().for_each(|folder: &PathBuf| context.watch(folder));
    Ok(folders)
}

/// A folder that the file names, with nothing relative left in it.
fn existing(context: &Context, folder: &Path) -> Result<PathBuf, Finding> {
    let resolved = context.resolve(folder);
    match resolved.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        _ => Err(Finding::new(format!("`{}` is no folder", resolved.display())).hint("relative folders start at the pipeline file's")),
    }
}

/// An app that is erased already, whichever executor it has.
struct Erased(Next);

impl IntoApp for Erased {
    fn into_next(self, _: &Place) -> Next {
        self.0
    }
}
