//! The WSGI bridge (PEP 3333).
//!
//! [`Wsgi`] is the app. Its service makes a `Call` of each request, and an `Executor` runs calls in worker processes or on Python threads of this
//! process. [`application`] then does the same for both: environ, input, start_response, iteration, `close()` and errors.
//! In the other direction, [`service_as_wsgi`] makes a stack callable from Python.

mod app_thread;
mod application;
mod arguments;
mod callable;
pub(crate) mod child;
mod early_hints;
mod entry_point;
mod environ;
mod errors;
mod executor;
mod explain;
mod file_wrapper;
mod forked;
mod in_place;
mod input;
// Starting and ending the interpreter and managing thread states need unsafe calls.
#[allow(unsafe_code)]
mod interpreter;
mod iterate;
mod layer;
mod lint;
mod load;
mod options;
mod raised;
mod response_head;
mod response_writer;
mod scheduling;
mod service_as_wsgi;
// The actions of a process at signals.
#[allow(unsafe_code)]
mod signal_actions;
mod sleeper;
mod start_response;
mod thread_pool;
mod timed;
mod variables;
mod websocket;
mod worker_pool;
// Raising an exception in another thread needs an unsafe call.
#[allow(unsafe_code)]
mod watchdog;

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{App, Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoApp, Next, Place};

use crate::worker::boot::Refusal;
pub(crate) use callable::Callable;
pub(crate) use executor::Callee;
pub use interpreter::{finalize, initialize};
pub use layer::WsgiLayer;
use load::import;
pub(crate) use load::is_dotted_name;
pub use options::Wsgi;
use options::{Replace, Workers};
pub(crate) use scheduling::run_in_batches;
pub(crate) use service_as_wsgi::Runtime;
pub(crate) use signal_actions::SignalActions;
pub(crate) use thread_pool::STACK;
pub(crate) use watchdog::DeadlineExceeded;

impl App for Wsgi {
    const NAME: &'static str = "wsgi";
    const SHORTHAND: Option<&'static str> = Some("app");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::RunsPython];

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        self.tell(explain);
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::CallsPython(self.app.clone()));
        effects.by("queue.wait", Effect::WaitsUpTo(self.queue.wait.0));
        if let Some(deadline) = self.deadline {
            effects.add(Effect::AnswersWithin(deadline.0));
        }
        if self.streaming {
            effects.add(Effect::StreamsBody);
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let callee = Callee { name: &self.app, stack: None, callable: &|| self.import(context).map_err(Refusal::from) };
        Ok(Erased(self.serve(context, &callee)?))
    }
}

impl Wsgi {
    /// Imports the app into this process.
    ///
    /// # Errors
    ///
    /// Why it cannot be imported.
    pub(crate) fn import(&self, context: &Context) -> Result<Callable, Finding> {
        self.set_variables()?;
        Ok(Callable::new(import(&self.app, self.arguments(), &self.folders(context)?)?).named(&self.app, context.place()))
    }

    /// The folders that are searched for its module, watched for changes.
    ///
    /// # Errors
    ///
    /// A folder that does not exist.
    pub(crate) fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        folders(self.path.as_ref(), context)
    }

    /// The number of worker processes; 0 if the app runs in this process.
    pub(crate) fn processes(&self) -> usize {
        self.workers.count()
    }

    /// Whether workers end before others take their place.
    pub(crate) fn ends_old_first(&self, is_watched: bool) -> bool {
        self.replace.map_or(is_watched, |replace| replace == Replace::OldFirst)
    }

    /// Sets the variables of `env` in `os.environ`.
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

    /// The numbers of workers and threads with `--watch`. A change restarts the workers; modules in the server's process could not be imported again,
    /// and several workers would take longer to start.
    fn while_watched(&self, context: &Context) -> (usize, usize) {
        match self.workers {
            Workers::Number(0) => {
                tracing::warn!(
                    "{}: with `--watch` it has one worker, because a module cannot be imported again in the server's process",
                    context.place()
                );
                (1, self.threads())
            }
            // The threads that routes reserve may be those of several workers.
            Workers::Auto if context.reserves().is_empty() => (1, self.threads()),
            workers => (workers.count(), self.threads()),
        }
    }
}

/// The folders that are searched for modules, watched for changes: those of the option `path`, or the pipeline file's.
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

/// An absolute path of a folder in the file.
fn existing(context: &Context, folder: &Path) -> Result<PathBuf, Finding> {
    let resolved = context.resolve(folder);
    match resolved.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        _ => Err(Finding::new(format!("`{}` is no folder", resolved.display())).hint("relative folders start at the pipeline file's")),
    }
}

/// An app that is a `Next` already.
struct Erased(Next);

impl IntoApp for Erased {
    fn into_next(self, _: &Place) -> Next {
        self.0
    }
}
