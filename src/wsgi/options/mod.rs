//! The options of the `wsgi` app.

mod inherit;
mod preload;
mod validate;
mod websockets;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::units::{Duration, Size};

pub(super) use inherit::Inherit;
pub(super) use preload::Preload;
pub(super) use websockets::WebSockets;
pub(super) use workers::Workers;

use super::arguments::Arguments;

/// Calls a WSGI application (PEP 3333).
///
/// Runs any unchanged WSGI app: Django, Flask, web.py or a plain function. The app runs in worker processes with a few threads each. The server
/// process never runs Python, so static files, probes and limits answer however busy the app is. The app is imported when the pipeline starts; if the
/// import fails, the start fails. A worker that dies later loses only the requests inside it, and is replaced.
///
/// Requests wait in one bounded queue for a thread of the app. If the queue is full, or the wait takes too long, the client gets a `503`.
///
/// The app sees `Forwarded`, `X-Forwarded-*` and `X-Real-IP` only below a `forwarded` layer, which decides what to trust. Hop-by-hop headers such as
/// `Connection` and `Upgrade` are not in the environ, except for a request for a WebSocket, which has `HTTP_CONNECTION`, `HTTP_UPGRADE` and the socket.
///
/// ```json
/// { "app": { "wsgi": { "app": "mysite.wsgi:application", "workers": "${WEB_CONCURRENCY:-auto}", "deadline": "30s" } } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wsgi {
    /// The application: `package.module:callable`. The callable may be an attribute of an object (`module:site.app`), or a factory that is called
    /// once with `args` and `kwargs` (`module:make()`). Without `:callable`, the module's `application` is used, or else its `app`.
    /// `egg:Distribution#name` is a factory that an installed distribution advertises as an entry point in the group `paste.app_factory`.
    pub(super) app: String,
    /// Positional arguments of a factory.
    #[serde(default)]
    pub(super) args: Vec<Value>,
    /// Keyword arguments of a factory.
    #[serde(default)]
    pub(super) kwargs: Map<String, Value>,
    /// Folders that are searched for modules before Python's own. Default: the folder of the pipeline file.
    #[serde(default)]
    pub(super) path: Option<OneOrMany<PathBuf>>,
    /// Number of worker processes. Python code runs in parallel only in different processes, so `"auto"` is one per core. 0 runs the app's threads
    /// inside the server process: that takes less memory, but an app that crashes or leaks takes the server with it.
    #[serde(default)]
    pub(super) workers: Workers,
    /// Threads of each worker that call the app. `workers` times `threads` requests can be inside the app at once. More threads help apps that wait
    /// for databases or other servers; they do not run Python code in parallel.
    #[serde(default = "default_threads")]
    #[schemars(range(min = 1, max = 1024))]
    pub(super) threads: u64,
    /// How many WebSockets may be open at once, in all workers together. Each takes up a thread of its own beyond `threads`, in the worker with the fewest.
    /// The app gets the socket in its environ, as `werkzeug.socket` and `gunicorn.socket`, where simple-websocket, flask-sock and Flask-SocketIO look for
    /// it. Further WebSockets get a `503`. 0 answers every one with a `501`. With an object, `limit` is the number, and `idle` is how long a WebSocket may carry
    /// nothing; by default that is the `keep_alive` of `server`.
    #[serde(default)]
    pub(super) websockets: WebSockets,
    /// Imports the app once, in a process that then forks the workers. They share the memory of what was imported, and a new worker starts within
    /// milliseconds. Not for apps that open connections or start threads during their import.
    #[serde(default)]
    pub(super) preload: Preload,
    /// When healthy workers are replaced, one at a time. A new worker is ready before the old one ends, and no request is lost. Default: never.
    #[serde(default)]
    pub(super) recycle: Recycle,
    /// Which comes first when workers are replaced, by a reload or by `recycle`. With `"new_first"`, the new worker is ready before the old one stops, and
    /// nobody waits. `"old_first"` is for apps that hold something exclusive from their import on, such as a lock, a port or an embedded database: the old
    /// worker finishes its requests and ends, then the new one starts, and requests wait in the queue meanwhile. If the new one cannot be started, the old
    /// one is started again. Default: `"new_first"`; with `--watch` `"old_first"`.
    #[serde(default)]
    pub(super) replace: Option<Replace>,
    /// How long a worker may take to import the app. A worker that takes longer is stopped, and the log shows where its import was; the start or reload
    /// fails. With `preload`, it applies to the template and to each fork.
    #[serde(default = "default_start_timeout")]
    pub(super) start_timeout: Duration,
    /// A callable, `package.module:callable`, that is told of each worker that has ended, for libraries that keep files per process: it is called as
    /// `callable(pid, cause)` in a living worker, in a thread of its own. Exceptions are logged.
    #[serde(default)]
    pub(super) worker_exit: Option<String>,
    /// Which variables of the server's environment the workers inherit: `"all"`, or a list of names. A name may end in `*`, as in `"DJANGO_*"`. Every
    /// worker has `PATH`, `HOME`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `VIRTUAL_ENV`, `LD_LIBRARY_PATH`, `NO_COLOR`, `PYTHON*` and `ZIGGURAT_LOG`. Default: all
    /// but those that only other layers and apps of the file name in `${...}`.
    #[serde(default)]
    pub(super) inherit: Option<Inherit>,
    /// Variables added to the environment of the workers.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// User that the workers run as, by name or number. The server has to be started by root; it may become another user itself (`server.user`). Default: the server's user.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// Group that the workers run as, by name or number. Default: the primary group of `user`.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// Working folder of the workers. Default: the server's.
    #[serde(default)]
    pub(super) chdir: Option<PathBuf>,
    /// The queue in which requests wait for a thread of the app.
    #[serde(default)]
    pub(super) queue: Queue,
    /// How long a request may take from its arrival in the queue to the head of the response. After that the client gets a `504`, the Python stack of
    /// the thread is logged, and an exception is raised in the thread; if that does not end the request, the worker is replaced. A `deadline` of a
    /// route takes precedence. Default: none.
    #[serde(default)]
    pub(super) deadline: Option<Duration>,
    /// Logs the Python stack of a request that takes longer than this; the request goes on. Default: none.
    #[serde(default)]
    pub(super) slow: Option<Duration>,
    /// How much of a request's body waits in memory until the body is whole. The rest waits in a temporary file (`server.spool`). The app is called when the
    /// body is whole, so `CONTENT_LENGTH` is always known and a slow client takes up no thread.
    #[serde(default = "default_buffer")]
    pub(super) buffer: Size,
    /// Calls the app while a body that is longer than `buffer` still arrives. The app reads the rest as it comes, and the client holds its thread meanwhile.
    /// There is no `CONTENT_LENGTH` if the client did not state it. A client that waits for `100 Continue` gets it when the app reads. For apps that
    /// answer before the end of an upload, or take longer ones than `server.spool.limit`.
    #[serde(default)]
    pub(super) streaming: bool,
}

impl Wsgi {
    /// The application, as in the file.
    pub(crate) fn name(&self) -> &str {
        &self.app
    }

    /// What a factory is called with.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        Arguments { args: &self.args, kwargs: &self.kwargs }
    }

    /// An app without further options.
    pub(super) fn alone(app: &str, workers: Option<Workers>, threads: Option<u64>) -> Self {
        Self {
            app: app.to_owned(),
            args: Vec::new(),
            kwargs: Map::new(),
            path: None,
            workers: workers.unwrap_or_default(),
            threads: threads.unwrap_or_else(default_threads),
            websockets: WebSockets::default(),
            preload: Preload::default(),
            recycle: Recycle::default(),
            replace: None,
            start_timeout: default_start_timeout(),
            worker_exit: None,
            inherit: None,
            env: BTreeMap::new(),
            user: None,
            group: None,
            chdir: None,
            queue: Queue::default(),
            deadline: None,
            slow: None,
            buffer: default_buffer(),
            streaming: false,
        }
    }
}

/// Which comes first when workers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::wsgi) enum Replace {
    /// The new worker is ready before the old one stops.
    NewFirst,
    /// The old worker ends before the new one starts.
    OldFirst,
}

/// When healthy workers are replaced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Recycle {
    /// After this number of requests. For apps that leak memory.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) requests: Option<u64>,
    /// Largest random addition to `requests`, so that workers are not replaced all at once. Default: a tenth of `requests`.
    #[serde(default)]
    pub(super) jitter: Option<u64>,
    /// After this time.
    #[serde(default)]
    pub(super) age: Option<Duration>,
    /// When its resident memory, checked every second, exceeds this.
    #[serde(default)]
    pub(super) memory: Option<Size>,
}

/// The queue in which requests wait for a thread of the app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    /// How many requests may wait. Further ones get a `503`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) limit: u64,
    /// How long a request may wait before it gets a `503`.
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

const fn default_start_timeout() -> Duration {
    Duration::secs(60)
}

const fn default_buffer() -> Size {
    Size::mib(1)
}
