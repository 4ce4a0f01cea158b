//! Whole pipeline files under test: in memory, with closures in place of WSGI apps.

mod doubles;

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use http::Extensions;
use tower::service_fn;
use ziggurat_middleware::{IntoStage, Lifecycle, Request, Response, TestStack};

use self::doubles::{AppDouble, Doubles, LayerDouble, Stage};
use crate::Ziggurat;
use crate::pipeline::{Pipeline, Registry, Report, Service};

/// Builds a whole pipeline file with the layers and apps of the program under test. It starts no Python and listens on nothing: a closure replaces each
/// WSGI app that the file names, and a native layer replaces each Python middleware.
///
/// ```
/// use ziggurat::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = Ziggurat::new()
///     .test()
///     .wsgi("shop:app", async |_| Response::new(Body::from("the shop")))
///     .pipeline(
///         r#"{
///             "layers": [{ "headers": { "response": { "set": { "x-stamp": "hello" } } } }],
///             "app": { "routes": [
///                 { "match": { "path": "/healthz" }, "app": { "respond": 204 } },
///                 { "app": { "wsgi": { "app": "shop:app", "workers": 8 } } }
///             ] }
///         }"#,
///     );
/// assert_eq!(stack.get("/healthz").await.status(), 204);
/// let response = stack.get("/").await;
/// assert_eq!((response.text().as_str(), response.header("x-stamp")), ("the shop", "hello"));
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a pipeline makes it a stack"]
pub struct TestPipeline {
    registry: Registry,
    doubles: Doubles,
    environment: HashMap<String, OsString>,
}

impl Ziggurat {
    /// Pipeline files under test, with the layers and apps of this program.
    pub fn test(self) -> TestPipeline {
        let registry = self.registry.layer::<LayerDouble>().app::<AppDouble>();
        TestPipeline { registry, doubles: Doubles::default(), environment: HashMap::new() }
    }
}

impl TestPipeline {
    /// Uses a closure in place of the WSGI app with this callable, for instance `site:app`.
    pub fn wsgi<F, Fut>(mut self, callable: &str, app: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let app = service_fn(move |request: Request| {
            let answer = app(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        self.doubles.apps.insert(callable.to_owned(), Service::new(app));
        self
    }

    /// Uses a layer in place of this Python middleware, for instance `mysite.sso:SingleSignOn`.
    pub fn wsgi_layer(mut self, middleware: &str, stage: impl IntoStage + Clone + Send + Sync + 'static) -> Self {
        self.doubles.layers.insert(middleware.to_owned(), Stage::new(stage));
        self
    }

    /// Sets a variable for `${NAME}` in the file. The environment of the process is not used.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Builds the stack of a pipeline given as text. Relative paths in it start at the working folder, which under `cargo test` is the crate's.
    ///
    /// # Panics
    ///
    /// If the pipeline is wrong, with the text that `ziggurat check` prints.
    #[must_use]
    pub fn pipeline(self, text: &str) -> TestStack {
        self.built(|registry, variable| Pipeline::from_text("pipeline.json", text, Path::new(""), registry, variable))
            .unwrap_or_else(|report| panic!("\n{}", report.render(false)))
    }

    /// Builds the stack of a file.
    ///
    /// # Panics
    ///
    /// As [`TestPipeline::pipeline`].
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>) -> TestStack {
        self.built(|registry, variable| Pipeline::load(path.as_ref(), registry, variable))
            .unwrap_or_else(|report| panic!("\n{}", report.render(false)))
    }

    /// The findings about a wrong pipeline, as `ziggurat check` prints them.
    ///
    /// # Panics
    ///
    /// If the pipeline is sound.
    #[must_use]
    pub fn refusal(self, text: &str) -> String {
        match self.built(|registry, variable| Pipeline::from_text("pipeline.json", text, Path::new(""), registry, variable)) {
            Ok(_) => panic!("nothing is wrong with {text}"),
            Err(report) => report.render(false),
        }
    }

    fn built(
        self,
        read: impl FnOnce(&Registry, &dyn Fn(&str) -> Option<OsString>) -> Result<Pipeline, Report>,
    ) -> Result<TestStack, Report> {
        let pipeline = read(&self.registry, &|name| self.environment.get(name).cloned())?;
        let mut host = Extensions::new();
        host.insert(Arc::new(self.doubles));
        TestStack::new(Lifecycle::hosted(host), |lifecycle| pipeline.build(lifecycle))
    }
}
