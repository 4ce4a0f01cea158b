//! An app under test.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ziggurat::Launcher;
use ziggurat::wsgi::{Wsgi, initialize};
use ziggurat_middleware::spool::SpoolOptions;
use ziggurat_middleware::units::Size;
use ziggurat_middleware::{App, Body, Context, Finding, Findings, IntoApp, Lifecycle, Next, Place, Request, Response, request};

/// How the app is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// In so many threads of a worker process.
    Workers(u64),
    /// In so many threads of this process.
    Pool(u64),
}

/// Every way to run an app.
pub const EXECUTORS: [Executor; 2] = [Executor::Workers(4), Executor::Pool(4)];

/// Nothing a test waits for may take longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What may wait in files, of requests and of responses each.
pub const SPOOL: u64 = 4 << 20;

/// A built app, and what it says in the log.
pub struct Site {
    next: Next,
    lifecycle: Lifecycle,
    place: String,
    /// Where a worker writes its log, and lets a test look into it.
    folder: Option<tempfile::TempDir>,
}

/// A response read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the body broke off.
    pub broken: bool,
}

impl Site {
    /// `module:callable` of tests/wsgi/apps.
    pub fn new(app: &str, executor: Executor) -> Self {
        Self::with(app, executor, json!({}))
    }

    /// As [`Site::new`], with more options.
    pub fn with(app: &str, executor: Executor, more: Value) -> Self {
        let mut options = match executor {
            Executor::Workers(threads) => json!({ "workers": 1, "threads": threads }),
            Executor::Pool(threads) => json!({ "workers": 0, "threads": threads }),
        };
        let all = options.as_object_mut().unwrap();
        all.extend([("app".to_owned(), json!(app)), ("path".to_owned(), json!(folders()))]);
        all.extend(more.as_object().unwrap().clone());
        let folder = matches!(executor, Executor::Workers(_)).then(|| tempfile::tempdir().unwrap());
        if let Some(folder) = &folder {
            all.insert("env".to_owned(), json!({ "TEST_DOOR": folder.path().join("door"), "ZIGGURAT_LOG": "info", "NO_COLOR": "1" }));
        }
        Self::made_of(options, folder).unwrap()
    }

    /// An app with these options, in this process where they say nothing about it.
    pub fn of(mut options: Value) -> Result<Self, Finding> {
        options["workers"] = options.get("workers").cloned().unwrap_or_else(|| 0.into());
        Self::made_of(options, None)
    }

    fn made_of(options: Value, folder: Option<tempfile::TempDir>) -> Result<Self, Finding> {
        let wsgi: Wsgi = serde_json::from_value(options).unwrap();
        let mut findings = Findings::default();
        wsgi.validate(&mut findings);
        if let Some(finding) = findings.into_iter().next() {
            return Err(finding);
        }
        let place = log::place();
        let mut host = http::Extensions::new();
        if let Some(folder) = &folder {
            // The worker writes its log to a file of the test's.
            let script = format!("exec \"$0\" \"$@\" 2>>{}", folder.path().join("log").display());
            host.insert(Launcher::new("/bin/sh", ["-c", &script, env!("CARGO_BIN_EXE_ziggurat")]));
        }
        let lifecycle = Lifecycle::hosted(host);
        let context = Context::new(place.as_str(), apps(), lifecycle.clone());
        let context = context.with_spool(Arc::new(SpoolOptions { limit: Size(SPOOL), ..SpoolOptions::default() }));
        let next = wsgi.app(&context)?.into_next(&Place::new(place.as_str()));
        Ok(Self { next, lifecycle, place, folder })
    }

    /// What was logged about this app so far.
    pub fn log(&self) -> String {
        let mut log = log::about(&self.place);
        if let Some(folder) = &self.folder {
            log.push_str(&std::fs::read_to_string(folder.path().join("log")).unwrap_or_default());
        }
        log
    }

    /// What an expression is, in the process that runs the app and the names of one of its modules.
    pub fn python<T: DeserializeOwned>(&self, module: &str, expression: &str) -> T {
        let Some(folder) = &self.folder else { return python(module, expression) };
        let answer = knock(folder.path(), &json!({ "module": module, "eval": expression }));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{expression} is {answer}: {error}"))
    }

    /// Has the process that runs the app do something.
    pub fn run(&self, module: &str, statement: &str) {
        match &self.folder {
            Some(folder) => drop(knock(folder.path(), &json!({ "module": module, "exec": statement }))),
            None => Python::attach(|py| {
                py.run(&CString::new(statement).unwrap(), Some(&py.import(module).unwrap().dict()), None).unwrap();
            }),
        }
    }

    /// Waits until the log about this app holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    /// The response, its body unread.
    pub async fn call(&self, request: Request) -> Response {
        self.next.clone().run(request).await
    }

    /// The response, read whole.
    pub async fn send(&self, request: Request) -> Answer {
        let (parts, mut body) = self.call(request).await.into_parts();
        let mut answer = Answer { status: parts.status, headers: parts.headers, body: Vec::new(), broken: false };
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => answer.body.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => {
                    answer.broken = true;
                    break;
                }
            }
        }
        answer
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(request(Method::GET, target, Body::empty())).await
    }

    pub async fn post(&self, target: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::POST, target, body)).await
    }

    /// Has the log show where all threads are.
    pub fn stacks(&self) {
        self.lifecycle.stacks();
    }

    pub fn shutdown(&self) {
        self.lifecycle.shutdown();
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Waits for a condition that another thread brings about.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// What an expression is, in this process.
pub fn python<T: DeserializeOwned>(module: &str, expression: &str) -> T {
    initialize().unwrap();
    let answer: String = Python::attach(|py| {
        // Where no app is run in this process, Python does not know the folder.
        py.import("sys").unwrap().getattr("path").unwrap().call_method1("append", (apps().to_str(),)).unwrap();
        let names = py.import(module).unwrap().dict();
        let value = py.eval(&CString::new(expression).unwrap(), Some(&names), None).unwrap();
        py.import("json").unwrap().call_method1("dumps", (value,)).unwrap().extract().unwrap()
    });
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{expression} is {answer}: {error}"))
}

/// Asks at the door of a worker: see tests/wsgi/apps/door.py.
fn knock(folder: &Path, question: &Value) -> String {
    let mut door = UnixStream::connect(folder.join("door")).unwrap();
    writeln!(door, "{question}").unwrap();
    let mut answer = String::new();
    door.read_to_string(&mut answer).unwrap();
    answer
}

/// The folder of the apps.
pub fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wsgi/apps")
}

/// The folder of the apps, and of the frameworks.
pub fn folders() -> Vec<PathBuf> {
    let environment = std::env::var_os("VIRTUAL_ENV").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv"), PathBuf::from);
    let libraries = std::fs::read_dir(environment.join("lib")).into_iter().flatten();
    let mut folders = vec![apps()];
    folders.extend(libraries.map(|library| library.unwrap().path().join("site-packages")));
    folders
}

/// The log of this process, entry by entry.
mod log {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, Once};

    static ENTRIES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static LISTENING: Once = Once::new();
    static PLACES: AtomicUsize = AtomicUsize::new(0);

    /// A place that no other app has.
    pub fn place() -> String {
        LISTENING.call_once(|| {
            let entries = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Entry);
            tracing::subscriber::set_global_default(entries.finish()).unwrap();
        });
        format!("wsgi#{:04}", PLACES.fetch_add(1, Ordering::Relaxed))
    }

    pub fn about(place: &str) -> String {
        ENTRIES.lock().unwrap().iter().filter(|entry| entry.contains(place)).cloned().collect()
    }

    struct Entry;

    impl Write for Entry {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            ENTRIES.lock().unwrap().push(String::from_utf8_lossy(text).into_owned());
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
