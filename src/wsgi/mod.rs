//! The WSGI bridge (PEP 3333): the only folder that uses pyo3.
//!
//! [`Wsgi`] is the app. Its service (`terminal`) makes a `Call` of each request: the head as CGI variables in one buffer, the body, and
//! the way back. An `Executor` brings calls to the interpreter: worker processes, a pool of Python threads in this process, or the IO threads
//! themselves. From there on (`application`) everything exists once: environ, input, start_response, iteration, close() and what becomes of errors.

mod application;
pub(crate) mod child;
mod environ;
mod errors;
mod extension;
mod file_wrapper;
mod here;
mod inline;
mod input;
// The interpreter's own start, end and thread states have no safe calls.
#[allow(unsafe_code)]
mod interpreter;
mod iterate;
mod load;
mod options;
mod outlet;
mod pool;
mod raised;
mod response_head;
mod staff;
mod start_response;
mod way_back;
// An exception can be raised in another thread by no safe call.
#[allow(unsafe_code)]
mod warden;

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[doc(hidden)]
pub use pyo3;
use pyo3::prelude::*;
use serde_json::Map;
use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp, Next};

use crate::call::terminal::{Patience, Terminal};
use crate::worker::admission::{Admission, Desk, Room};
use application::Application;
#[doc(hidden)]
pub use extension::extend;
use inline::Inline;
pub use interpreter::{finalize, initialize};
use load::import;
pub(crate) use load::is_dotted_name;
use options::Workers;
pub use options::Wsgi;
use pool::{AHEAD, Pool};

impl App for Wsgi {
    const NAME: &'static str = "wsgi";
    const SHORTHAND: Option<&'static str> = Some("app");

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let (workers, threads) = if context.is_watched() { self.while_watched(context) } else { (self.workers.count(), self.threads()) };
        self.check_reserves(context.reserves(), workers.max(1) * threads)?;
        let patience =
            Patience { buffer: self.buffer.0, deadline: self.deadline.map(|deadline| deadline.0), slow: self.slow.map(|slow| slow.0) };
        let erased = |terminal| Ok(Erased(Next::new(context.place(), terminal)));
        if workers > 0 {
            return erased(Terminal::new(self.staff(context, workers, threads)?, patience));
        }
        let callable = import(&self.app, &self.folders(context)?)?;
        let application = Python::attach(|py| Application::new(py, callable, context.place(), threads != 1, false)).map(Arc::new)?;
        if threads == 0 {
            return Ok(Erased(Next::new(context.place(), Terminal::new(Arc::new(Inline::new(application)), patience))));
        }
        let pool = Pool::start(&application, threads, || {}, || {})
            .map_err(|error| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads"))?;
        let pool = Arc::new(pool);
        let admission = self.admission(context);
        admission.open(Arc::clone(&pool) as Arc<dyn Desk>, Room { threads, ahead: AHEAD });
        let hook = Arc::clone(&pool);
        context.on_stacks(move || hook.stacks());
        self.report(context, &admission);
        let hook = Arc::clone(&admission);
        context.on_shutdown(move || {
            hook.end();
            pool.end();
        });
        erased(Terminal::new(admission, patience))
    }
}

impl Wsgi {
    /// The queue before the app.
    fn admission(&self, context: &Context) -> Arc<Admission> {
        let limit = usize::try_from(self.queue.limit).unwrap_or(usize::MAX);
        Admission::new(context.place(), limit, self.queue.wait.0, context.reserves())
    }

    /// Has status and metrics tell how the threads of this process fare.
    fn report(&self, context: &Context, admission: &Arc<Admission>) {
        let (app, hook) = (self.app.clone(), Arc::clone(admission));
        context.on_status(move || {
            let mut status = Map::from_iter([("app".to_owned(), app.as_str().into()), ("workers".to_owned(), 0.into())]);
            status.extend(hook.figures().status());
            status.into()
        });
        let (place, hook) = (context.place().to_owned(), Arc::clone(admission));
        context.on_scrape(move |metrics| hook.figures().scrape(&place, metrics));
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

    /// The folders that modules are looked for in, watched where changes are.
    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        let folders = self.resolve(context)?;
        folders.iter().for_each(|folder| context.watch(folder));
        Ok(folders)
    }

    fn resolve(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        let Some(path) = &self.path else { return Ok(vec![context.resolve(".").canonicalize().unwrap_or_else(|_| context.resolve(""))]) };
        let resolved = path.0.iter().enumerate().map(|(nth, folder)| {
            existing(context, folder).map_err(|finding| if path.0.len() > 1 { finding.at("path").at(nth) } else { finding.at("path") })
        });
        resolved.collect()
    }
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
    fn into_next(self, _: &str) -> Next {
        self.0
    }
}
