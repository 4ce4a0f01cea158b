//! Folders of files, and an app that names one of them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method};
use tempfile::TempDir;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::{Body, Request, Response, TestResponse, TestStack, request};

/// The date of RFC 9110's examples.
pub(crate) const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The folders `private` and `media` of a temporary folder, and a secret beside them.
pub(crate) struct Site {
    outer: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        for folder in ["private", "media", "private-twin"] {
            fs::create_dir(outer.path().join(folder)).unwrap();
        }
        fs::write(outer.path().join("secret"), "SECRET").unwrap();
        fs::write(outer.path().join("private-twin/secret"), "SECRET").unwrap();
        Self { outer }
    }

    /// `path` below the outer folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.outer.path().join(path)
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        self
    }

    /// The options for both folders.
    pub(crate) fn options(&self) -> String {
        let roots =
            [("/protected", "private"), ("/media/", "media")].map(|(at, root)| serde_json::json!({ "at": at, "root": self.path(root) }));
        serde_json::json!({ "roots": roots }).to_string()
    }

    /// The layer over an app that answers with these headers and the body `of the app`.
    pub(crate) fn over(&self, headers: &'static [(&'static str, &'static str)]) -> TestStack {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, HeaderValue::from_static(value))).collect();
        self.over_headers(headers)
    }

    pub(crate) fn over_headers(&self, headers: Vec<(&'static str, HeaderValue)>) -> TestStack {
        TestStack::of::<Sendfile>(&self.options()).over(move |_| {
            let mut response = Response::new(Body::from("of the app"));
            for (name, value) in &headers {
                response.headers_mut().append(*name, value.clone());
            }
            std::future::ready(response)
        })
    }

    /// What the layer makes of an answer with `X-Sendfile` and this path below the outer folder.
    pub(crate) async fn by_path(&self, path: &str) -> TestResponse {
        let value = HeaderValue::try_from(self.path("").join(path).to_str().unwrap()).unwrap();
        self.over_headers(vec![("x-sendfile", value)]).get("/").await
    }

    /// What the layer makes of an answer with `X-Accel-Redirect` and this value.
    pub(crate) async fn by_uri(&self, uri: &[u8]) -> TestResponse {
        self.over_headers(vec![("x-accel-redirect", HeaderValue::from_bytes(uri).unwrap())]).get("/").await
    }
}

pub(crate) fn get(headers: &[(&'static str, &str)]) -> Request {
    with(Method::GET, headers)
}

pub(crate) fn with(method: Method, headers: &[(&'static str, &str)]) -> Request {
    let mut request = request(method, "/", Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}
