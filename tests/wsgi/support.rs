//! An app under test.

use std::path::{Path, PathBuf};

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use ziggurat::wsgi::Wsgi;
use ziggurat_middleware::{App, Body, Context, Finding, Findings, IntoApp, Lifecycle, Next, Request, Response, request};

/// The executors: the pool, and inline.
pub const THREADS: [u64; 2] = [4, 0];

/// A built app.
pub struct Site {
    next: Next,
    lifecycle: Lifecycle,
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

    /// An app with these options.
    pub fn of(options: serde_json::Value) -> Result<Self, Finding> {
        let wsgi: Wsgi = serde_json::from_value(options).unwrap();
        let mut findings = Findings::default();
        wsgi.validate(&mut findings);
        if let Some(finding) = findings.into_iter().next() {
            return Err(finding);
        }
        let lifecycle = Lifecycle::default();
        let context = Context::new("app.wsgi", apps(), lifecycle.clone());
        let next = wsgi.app(&context)?.into_next("app.wsgi");
        Ok(Self { next, lifecycle })
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
