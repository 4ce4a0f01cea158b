//! A stack in memory with Python layers in it, on every executor.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use ziggurat::Launcher;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, Lifecycle, Metrics, Next, Request, Response, request};

/// Who runs the Python layers and the native layers between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executor {
    /// So many threads of a worker process.
    Workers(u64),
    /// So many threads of this process.
    Pool(u64),
}

/// Every way to run one.
pub(crate) const EXECUTORS: [Executor; 2] = [Executor::Workers(4), Executor::Pool(4)];

/// Nothing a test waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A built pipeline, and what it says in the log.
pub(crate) struct Site {
    next: Next,
    lifecycle: Lifecycle,
    folder: tempfile::TempDir,
    /// How much of this process's log is about others.
    said_before: usize,
}

/// A response read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

impl Site {
    /// `app` of tests/across/apps under `layers`, a JSON list.
    pub(crate) fn new(layers: &str, app: &str, executor: Executor) -> Self {
        Self::with(layers, app, executor, json!({}))
    }

    /// As [`Site::new`], with more options of the app.
    pub(crate) fn with(layers: &str, app: &str, executor: Executor, more: Value) -> Self {
        let mut options = options(app, executor);
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self::of(layers, &json!({ "wsgi": options }))
    }

    /// As [`Site::new`], with `server.timing`.
    pub(crate) fn timed(layers: &str, app: &str, executor: Executor) -> Self {
        Self::of_server(layers, &json!({ "wsgi": options(app, executor) }), &json!({ "timing": true }))
    }

    /// An app of any kind under `layers`.
    pub(crate) fn of(layers: &str, app: &Value) -> Self {
        Self::of_server(layers, app, &json!({}))
    }

    fn of_server(layers: &str, app: &Value, server: &Value) -> Self {
        let layers: Value = serde_json::from_str(layers).unwrap_or_else(|error| panic!("{layers}: {error}"));
        let said_before = log::listen();
        let folder = tempfile::tempdir().unwrap();
        // openssl passwd -apr1 -salt saltsalt secret
        std::fs::write(folder.path().join("users"), "ann:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n").unwrap();
        let text =
            json!({ "server": server, "layers": layers, "app": app }).to_string().replace("@FOLDER", folder.path().to_str().unwrap());
        // The worker writes its log to a file of the test's.
        let script = format!("ZIGGURAT_LOG=info NO_COLOR=1 exec \"$0\" \"$@\" 2>>{}", folder.path().join("log").display());
        let mut host = http::Extensions::new();
        host.insert(Launcher::new("/bin/sh", ["-c", &script, env!("CARGO_BIN_EXE_ziggurat")]));
        let lifecycle = Lifecycle::hosted(host);
        let pipeline = Pipeline::from_text("pipeline.json", &text, &apps(), &ziggurat::builtin(), &|_| None);
        let next = pipeline.and_then(|pipeline| pipeline.build(&lifecycle)).unwrap_or_else(|report| panic!("{report}"));
        Self { next, lifecycle, folder, said_before }
    }

    /// The metrics of the stack.
    pub(crate) fn scrape(&self) -> Metrics {
        self.lifecycle.scrape()
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        let mut log = log::since(self.said_before);
        log.push_str(&self.file("log"));
        log
    }

    /// What stands in a file that a layer writes as `@FOLDER/name`.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Puts a file into the folder that layers name as `@FOLDER`.
    pub(crate) fn write(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.folder.path().join(name), octets).unwrap();
    }

    /// Waits until the log holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    /// The response, its body unread.
    pub(crate) async fn call(&self, request: Request) -> Response {
        self.next.clone().run(request).await
    }

    /// The response, read whole.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        tokio::time::timeout(PATIENCE, async { Answer::of(self.call(request).await).await }).await.expect("an answer")
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(request(Method::GET, target, Body::empty())).await
    }

    pub(crate) async fn post(&self, target: &str, body: impl Into<Body>) -> Answer {
        let body = body.into();
        let mut request = request(Method::POST, target, Body::empty());
        if let Some(length) = http_body::Body::size_hint(&body).exact() {
            request.headers_mut().insert("content-length", length.into());
        }
        *request.body_mut() = body;
        self.send(request).await
    }

    /// What the Python parts have noted so far.
    pub(crate) async fn events(&self) -> Vec<String> {
        let answer = self.get("/_events").await;
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {} {}", answer.text(), self.log()))
    }

    /// How often the Python parts have noted this.
    pub(crate) async fn noted(&self, event: &str) -> usize {
        self.events().await.iter().filter(|noted| *noted == event).count()
    }

    /// Waits until the Python parts have noted this so often.
    pub(crate) async fn wait_for_event(&self, event: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.noted(event).await < times {
            assert!(Instant::now() < until, "waited in vain for {event:?}: {:?}", self.events().await);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.lifecycle.shutdown();
    }
}

/// The options of `app` that make this executor call it.
fn options(app: &str, executor: Executor) -> Value {
    let (workers, threads) = match executor {
        Executor::Workers(threads) => (1, threads),
        Executor::Pool(threads) => (0, threads),
    };
    json!({ "app": app, "path": folders(), "workers": workers, "threads": threads })
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut answer = Self { status: parts.status, headers: parts.headers, body: Vec::new(), broken: false };
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

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status, body, and whether that broke off.
    pub(crate) fn seen(&self) -> (u16, String, bool) {
        (self.status.as_u16(), self.text(), self.broken)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }
}

/// A GET request with these headers.
pub(crate) fn get(target: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = request(Method::GET, target, Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    request
}

/// The octets of the next frame.
pub(crate) async fn next_frame(response: &mut Response) -> Option<String> {
    let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.expect("a frame in time")?;
    Some(String::from_utf8_lossy(&frame.unwrap().into_data().unwrap()).into_owned())
}

/// Waits for a condition that another thread brings about.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// The folder of the apps.
pub(crate) fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/across/apps")
}

/// The folders of the apps, of those of the bridge's own tests, and of what is installed for tests.
pub(crate) fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = std::env::var_os("VIRTUAL_ENV").map_or_else(|| root.join(".venv"), PathBuf::from);
    let libraries = std::fs::read_dir(environment.join("lib")).into_iter().flatten();
    let mut folders = vec![apps(), root.join("tests/wsgi/apps")];
    folders.extend(libraries.map(|library| library.unwrap().path().join("site-packages")));
    folders
}

/// The log of this process, entry by entry.
mod log {
    use std::io::Write;

    use super::{Mutex, Once};

    static ENTRIES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static LISTENING: Once = Once::new();

    /// From here on everything is kept. Gives how much there is.
    pub(super) fn listen() -> usize {
        LISTENING.call_once(|| {
            let entries = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Entry);
            tracing::subscriber::set_global_default(entries.finish()).unwrap();
        });
        ENTRIES.lock().unwrap().len()
    }

    pub(super) fn since(start: usize) -> String {
        ENTRIES.lock().unwrap()[start..].concat()
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
