//! The WSGI bridge (PEP 3333): the only folder that uses pyo3.
//!
//! [`Wsgi`] is the app. Its service (`terminal`) makes a `Call` of each request: the head as CGI variables in one buffer, the body, and
//! the way back. An `Executor` brings calls to the interpreter: a pool of Python threads, or the IO threads themselves. From there on
//! (`application`) everything exists once: environ, input, start_response, iteration, close() and what becomes of errors.

mod application;
pub(crate) mod child;
mod environ;
mod errors;
mod extension;
mod file_wrapper;
mod inline;
mod input;
// The interpreter's own start, end and thread states have no safe calls.
#[allow(unsafe_code)]
mod interpreter;
mod iterate;
mod load;
mod outlet;
mod pool;
mod response_head;
mod start_response;
// An exception can be raised in another thread by no safe call.
#[allow(unsafe_code)]
mod warden;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::units::Size;
use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp, Next};

use crate::call::terminal::{Patience, Terminal};
use crate::worker::admission::{Admission, Desk, Room};
use application::Application;
use inline::Inline;
pub use interpreter::{finalize, initialize};
use load::{Target, import};
use pool::{AHEAD, Pool};

/// How many requests may wait for a thread of the app, and how long.
const QUEUE: usize = 1024;
const WAIT: Duration = Duration::from_secs(30);

/// The most threads an app may have.
const MOST_THREADS: u64 = 1024;

/// Calls a WSGI application (PEP 3333).
///
/// Any unchanged WSGI app: Django, Flask, web.py or a plain function. The module is imported when the pipeline starts, and a module that
/// cannot be imported stops the start. Requests wait in a bounded queue for one of the app's threads; when the queue is full, clients get
/// `503`.
///
/// The app sees `Forwarded`, `X-Forwarded-*` and `X-Real-IP` only below a `forwarded` layer, which says whom to believe.
///
/// ```json
/// { "app": { "wsgi": { "app": "mysite.wsgi:application", "threads": 8 } } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wsgi {
    /// The application: `package.module:callable`. The callable may be an attribute further inside (`module:site.app`), or a factory that
    /// is called once, without arguments (`module:make()`). Without `:callable` the module's `application` is taken, or else its `app`.
    app: String,
    /// Folders in which modules are looked for before Python's own. By default the folder of the pipeline file.
    #[serde(default)]
    path: Option<OneOrMany<PathBuf>>,
    /// Worker processes. This version has none yet: the app runs in threads of the server's process, and the only value is 0.
    #[serde(default)]
    workers: Workers,
    /// Threads that call the app, and so the number of requests that can be inside the app at once. More help apps that wait (for a
    /// database, for other servers); they do not make Python code run in parallel. 0 calls the app on the server's IO threads: the least
    /// overhead for short calls, but one slow call holds up every connection of its thread.
    #[serde(default = "default_threads")]
    #[schemars(range(min = 0, max = 1024))]
    threads: u64,
    /// How much of a request's body is taken in before the app is called. A body that fits never holds a thread while it arrives; a
    /// longer one is streamed to the app as it reads.
    #[serde(default = "default_buffer")]
    buffer: Size,
}

const fn default_threads() -> u64 {
    4
}

const fn default_buffer() -> Size {
    Size::mib(1)
}

/// The number of worker processes.
#[derive(Debug, Default)]
enum Workers {
    #[default]
    None,
    Some,
}

impl App for Wsgi {
    const NAME: &'static str = "wsgi";
    const SHORTHAND: Option<&'static str> = Some("app");

    fn validate(&self, findings: &mut Findings) {
        if let Err(finding) = Target::parse(&self.app) {
            findings.push(finding);
        }
        if matches!(self.workers, Workers::Some) {
            let finding = Finding::new("worker processes are not in this version yet").at("workers");
            findings.push(finding.hint("leave `workers` out or set it to 0, and set `threads`"));
        }
        if self.threads > MOST_THREADS {
            let finding = Finding::new(format!("{} threads are too many", self.threads)).at("threads");
            findings
                .push(finding.hint(format!("at most {MOST_THREADS}; threads share one interpreter, so more than a few dozen rarely help")));
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let folders = self.folders(context)?;
        let callable = import(&self.app, &folders)?;
        // Bounded by `validate`, and a pool of the bound does no harm where nobody called that.
        let threads = usize::try_from(self.threads.min(MOST_THREADS)).unwrap_or(0);
        let application = Python::attach(|py| Application::new(py, callable, context.place(), threads != 1, false)).map(Arc::new)?;
        let patience = Patience { buffer: self.buffer.0, deadline: None, slow: None };
        if threads == 0 {
            return Ok(Erased(Next::new(context.place(), Terminal::new(Arc::new(Inline::new(application)), patience))));
        }
        let pool = Pool::start(&application, threads, || {})
            .map_err(|error| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads"))?;
        let pool = Arc::new(pool);
        let admission = Admission::new(context.place(), QUEUE, WAIT, context.reserves());
        admission.open(Arc::clone(&pool) as Arc<dyn Desk>, Room { threads, ahead: AHEAD });
        let threads = Arc::clone(&pool);
        context.on_stacks(move || threads.stacks());
        let hook = Arc::clone(&admission);
        context.on_shutdown(move || {
            hook.end();
            pool.end();
        });
        Ok(Erased(Next::new(context.place(), Terminal::new(admission, patience))))
    }
}

impl Wsgi {
    /// The folders that modules are looked for in.
    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        let Some(path) = &self.path else { return Ok(vec![context.resolve("").canonicalize().unwrap_or_else(|_| context.resolve(""))]) };
        let resolved = path.0.iter().enumerate().map(|(nth, folder)| {
            let resolved = context.resolve(folder);
            match resolved.canonicalize() {
                Ok(folder) if folder.is_dir() => Ok(folder),
                _ => {
                    let finding = Finding::new(format!("`{}` is no folder", resolved.display())).at("path");
                    Err(if path.0.len() > 1 { finding.at(nth) } else { finding }.hint("relative folders start at the pipeline file's"))
                }
            }
        });
        resolved.collect()
    }
}

/// An app that is erased already, whichever executor it has.
struct Erased(Next);

impl IntoApp for Erased {
    fn into_next(self, _: &str) -> Next {
        self.0
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WorkersVisitor;

        impl Visitor<'_> for WorkersVisitor {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of worker processes")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Workers, E> {
                Ok(if number == 0 { Workers::None } else { Workers::Some })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers::Some),
                    text => text
                        .parse()
                        .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
                        .and_then(|number| self.visit_u64(number)),
                }
            }
        }

        deserializer.deserialize_any(WorkersVisitor)
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Workers")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": 0 })
    }
}
