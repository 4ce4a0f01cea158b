//! The options of the `wsgi` app.

mod preload;
mod validate;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::units::{Duration, Size};

pub(super) use preload::Preload;
pub(super) use workers::Workers;

/// Calls a WSGI application (PEP 3333).
///
/// Any unchanged WSGI app: Django, Flask, web.py or a plain function. It runs in worker processes, each with a few threads, and the server
/// itself never runs Python: static files, probes and limits answer however busy the app is. The module is imported when the pipeline
/// starts, and a module that cannot be imported stops the start. A worker that dies later costs the requests inside it and nothing else;
/// another one takes its place.
///
/// Requests wait in one bounded queue for a thread of the app; when it is full, or the wait too long, clients get `503`.
///
/// The app sees `Forwarded`, `X-Forwarded-*` and `X-Real-IP` only below a `forwarded` layer, which says whom to believe.
///
/// ```json
/// { "app": { "wsgi": { "app": "mysite.wsgi:application", "workers": "${WEB_CONCURRENCY:-auto}", "deadline": "30s" } } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wsgi {
    /// The application: `package.module:callable`. The callable may be an attribute further inside (`module:site.app`), or a factory that
    /// is called once, without arguments (`module:make()`). Without `:callable` the module's `application` is taken, or else its `app`.
    pub(super) app: String,
    /// Folders in which modules are looked for before Python's own. By default the folder of the pipeline file.
    #[serde(default)]
    pub(super) path: Option<OneOrMany<PathBuf>>,
    /// Worker processes. Python code runs in parallel only in several of them, so `"auto"` is one per core. 0 runs the app's threads inside
    /// the server's own process: less memory, but an app that crashes or leaks takes the server with it.
    #[serde(default)]
    pub(super) workers: Workers,
    /// Threads of each worker that call the app; `workers` times `threads` requests can be inside the app at once. More help apps that wait
    /// (for a database, for other servers); they do not make Python code run in parallel. 0, only with `"workers": 0`, calls the app on the
    /// server's IO threads: the least overhead for short calls, but one slow call holds up every connection of its thread.
    #[serde(default = "default_threads")]
    #[schemars(range(min = 0, max = 1024))]
    pub(super) threads: u64,
    /// Imports the app once, in a process from which the workers are then forked: they share the memory of what was imported, and a new one is
    /// there in milliseconds. Apps that open connections or start threads while they are imported cannot be shared so.
    #[serde(default)]
    pub(super) preload: Preload,
    /// When a worker is replaced though it is well. The new one is ready before the old one ends, one worker at a time, and no request is lost.
    /// By default never.
    #[serde(default)]
    pub(super) recycle: Recycle,
    /// Variables added to the environment of the workers.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The user that the workers run as, by name or number; the server has to be started by root. By default the server's own user.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// The group that the workers run as, by name or number. By default the main group of `user`.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// The working folder of the workers. By default the server's own.
    #[serde(default)]
    pub(super) chdir: Option<PathBuf>,
    /// Where requests wait for a thread of the app.
    #[serde(default)]
    pub(super) queue: Queue,
    /// How long a request may take from its arrival in the queue to the head of its answer. A client whose request takes longer gets `504`;
    /// the Python stack goes to the log, an exception is raised in the thread, and where that does not end it, the worker is replaced. By
    /// default there is no deadline. Routes may have deadlines of their own.
    #[serde(default)]
    pub(super) deadline: Option<Duration>,
    /// The Python stack of a request that takes longer than this goes to the log, and the request goes on. By default none does.
    #[serde(default)]
    pub(super) slow: Option<Duration>,
    /// How much of a request's body is taken in before the app is called. A body that fits never holds a thread while it arrives; a
    /// longer one is streamed to the app as it reads.
    #[serde(default = "default_buffer")]
    pub(super) buffer: Size,
}

impl Wsgi {
    /// What it names.
    pub(crate) fn name(&self) -> &str {
        &self.app
    }

    /// An app of which nothing more is said.
    pub(super) fn alone(app: &str, workers: Option<Workers>, threads: Option<u64>) -> Self {
        Self {
            app: app.to_owned(),
            path: None,
            workers: workers.unwrap_or_default(),
            threads: threads.unwrap_or_else(default_threads),
            preload: Preload::default(),
            recycle: Recycle::default(),
            env: BTreeMap::new(),
            user: None,
            group: None,
            chdir: None,
            queue: Queue::default(),
            deadline: None,
            slow: None,
            buffer: default_buffer(),
        }
    }
}

/// When a worker is replaced though it is well.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Recycle {
    /// After so many requests: for apps that leak.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) requests: Option<u64>,
    /// Up to so many requests more, different for each worker, so that they do not all fall due at once. By default a tenth of `requests`.
    #[serde(default)]
    pub(super) jitter: Option<u64>,
    /// After this time.
    #[serde(default)]
    pub(super) age: Option<Duration>,
    /// When it uses more memory than this (its resident set, looked at every second).
    #[serde(default)]
    pub(super) memory: Option<Size>,
}

/// Where requests wait for a thread of the app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    /// How many requests may wait; one more gets `503`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) limit: u64,
    /// How long one may wait; then it gets `503`.
    pub(super) wait: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { limit: 1024, wait: Duration::secs(30) }
    }
}

const fn default_threads() -> u64 {
    4
}

const fn default_buffer() -> Size {
    Size::mib(1)
}
