//! An app under test.

use std::path::{Path, PathBuf};

use std::ffi::CString;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use pyo3::prelude::*;
use ziggurat::wsgi::Wsgi;
use ziggurat_middleware::{App, Body, Context, Finding, Findings, IntoApp, Lifecycle, Next, Request, Response, request};

/// The executors: the pool, and inline.
pub const THREADS: [u64; 2] = [4, 0];

/// Nothing a test waits for may take longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A built app, and what it says in the log.
pub struct Site {
    next: Next,
    lifecycle: Lifecycle,
    place: String,
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
    /// `module:callable` of tests/wsgi/apps, with so many threads.
    pub fn new(app: &str, threads: u64) -> Self {
        Self::of(serde_json::json!({ "app": app, "threads": threads, "path": folders() })).unwrap()
    }

    /// An app with these options, in this process where they say nothing about it.
    pub fn of(mut options: serde_json::Value) -> Result<Self, Finding> {
        options["workers"] = options.get("workers").cloned().unwrap_or_else(|| 0.into());
        let wsgi: Wsgi = serde_json::from_value(options).unwrap();
        let mut findings = Findings::default();
        wsgi.validate(&mut findings);
        if let Some(finding) = findings.into_iter().next() {
            return Err(finding);
        }
        let place = log::place();
        let lifecycle = Lifecycle::default();
        let context = Context::new(place.as_str(), apps(), lifecycle.clone());
        let next = wsgi.app(&context)?.into_next(&place);
        Ok(Self { next, lifecycle, place })
    }

    /// What was logged about this app so far.
    pub fn log(&self) -> String {
        log::about(&self.place)
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

/// Asks Python.
pub fn python<T: for<'a, 'py> FromPyObject<'a, 'py> + 'static>(module: &str, expression: &str) -> T {
    Python::attach(|py| {
        let names = py.import(module).unwrap().dict();
        let value = py.eval(&CString::new(expression).unwrap(), Some(&names), None).unwrap();
        match value.extract() {
            Ok(value) => value,
            Err(_) => panic!("{expression} is {value}"),
        }
    })
}

/// Has Python do something.
pub fn run(module: &str, statement: &str) {
    Python::attach(|py| py.run(&CString::new(statement).unwrap(), Some(&py.import(module).unwrap().dict()), None).unwrap());
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
        format!("app.wsgi.{:04}", PLACES.fetch_add(1, Ordering::Relaxed))
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
