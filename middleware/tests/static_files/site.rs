//! A folder of files and a stack over it.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::Method;
use serde::Deserialize;
use tempfile::TempDir;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::{App, Body, Context, IntoApp, Lifecycle, Next, Place, Request, TestResponse, TestStack, request};

/// Sunday, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
pub(crate) const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
pub(crate) const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
pub(crate) const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

pub(crate) fn modified() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// The folder `root` of a temporary folder; what stands beside it must never be served.
pub(crate) struct Site {
    outer: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        Self { outer }
    }

    /// `path` below the root.
    pub(crate) fn path(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.outer.path().join("root").join(std::ffi::OsStr::from_bytes(path.as_ref()))
    }

    /// Writes a file of the well-known date; makes its folders.
    pub(crate) fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(modified()).unwrap();
        self
    }

    /// As the layer at `/static`, over an app that answers `below`.
    pub(crate) fn layer(&self, options: &str) -> TestStack {
        TestStack::of::<Static>(&self.options(options)).over_text("below")
    }

    /// As the app.
    pub(crate) fn app(&self, options: &str) -> Next {
        let options = Static::deserialize(&mut serde_json::Deserializer::from_str(&self.options(options))).unwrap();
        let context = Context::new("static", PathBuf::from("/"), Lifecycle::default());
        App::app(options, &context).unwrap_or_else(|finding| panic!("{finding}")).into_next(&Place::new("static"))
    }

    fn options(&self, more: &str) -> String {
        let mut options: serde_json::Map<String, serde_json::Value> = serde_json::from_str(more).unwrap();
        options.insert("root".to_owned(), self.path("").to_str().unwrap().into());
        serde_json::to_string(&options).unwrap()
    }
}

/// The app as a stack, for its helpers.
pub(crate) fn stack(app: Next) -> TestStack {
    TestStack::stage(tower::layer::util::Identity::new()).over_next(app)
}

pub(crate) fn get(target: &str, headers: &[(&'static str, &str)]) -> Request {
    with(Method::GET, target, headers)
}

pub(crate) fn with(method: Method, target: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = request(method, target, Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// Status and body in one string, for tables.
pub(crate) fn summary(response: &TestResponse) -> String {
    format!("{} {}", response.status().as_u16(), response.text())
}
