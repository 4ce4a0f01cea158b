//! Runs layers in memory: no sockets, no Python, no files but those the layer names.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use tower::service_fn;

use crate::options::spelled_out;
use crate::{Body, Context, Finding, Findings, IntoStage, Lifecycle, Middleware, Next, Origin, Request, Response, Scheme};

/// A stack under test: a layer as the pipeline file would make it, over an app given as a closure.
///
/// ```
/// use ziggurat_middleware::TestStack;
/// use ziggurat_middleware::headers::Headers;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = TestStack::of::<Headers>(r#"{"response": {"set": {"x-stamp": "hello"}}}"#).over_text("body");
/// let response = stack.get("/").await;
/// assert_eq!(response.headers()["x-stamp"], "hello");
/// assert_eq!(response.text(), "body");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestStack {
    next: Next,
    lifecycle: Lifecycle,
}

impl TestStack {
    /// The layer `M` with these options, written as in the file.
    ///
    /// # Panics
    ///
    /// If the options are refused; [`TestStack::refusal`] is for tests of that.
    #[must_use]
    pub fn of<M: Middleware>(options: &str) -> TestStage {
        let options = options.to_owned();
        TestStage {
            put: Box::new(move |inner, lifecycle| match build::<M>(&options, inner, lifecycle) {
                Ok(next) => next,
                Err(findings) => panic!("`{}` refuses {options}: {}", M::NAME, findings.join("; ")),
            }),
        }
    }

    /// What the layer `M` says against these options.
    ///
    /// # Panics
    ///
    /// If it takes them.
    #[must_use]
    pub fn refusal<M: Middleware>(options: &str) -> Vec<String> {
        let inner = Next::new("app.test", service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty()))));
        match build::<M>(options, inner, &Lifecycle::default()) {
            Ok(_) => panic!("`{}` takes {options}", M::NAME),
            Err(findings) => findings,
        }
    }

    /// A stage that is no [`Middleware`], for instance what [`crate::from_fn`] gives.
    pub fn stage(stage: impl IntoStage + 'static) -> TestStage {
        TestStage { put: Box::new(|inner, _| stage.stage("layers[0].test", inner)) }
    }

    /// Sends GET for this target.
    pub async fn get(&self, target: &str) -> TestResponse {
        self.send(request(Method::GET, target, Body::empty())).await
    }

    /// Sends a request; [`request`] makes one. The answer's body is read whole.
    ///
    /// # Panics
    ///
    /// If the response body fails; [`TestStack::call`] gives the response with its body unread.
    pub async fn send(&self, request: Request) -> TestResponse {
        let (parts, body) = self.call(request).await.into_parts();
        match body.collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned();
                TestResponse { response: Response::from_parts(parts, Body::empty()), body: body.to_bytes(), trailers }
            }
            Err(error) => panic!("the response body failed: {error}"),
        }
    }

    /// Sends a request and gives the response with its body unread.
    pub async fn call(&self, request: Request) -> Response {
        self.next.clone().run(request).await
    }

    /// The hooks the layer left: [`Lifecycle::reopen`], [`Lifecycle::shutdown`].
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }
}

/// A built layer that still wants an app below it.
pub struct TestStage {
    put: Put,
}

type Put = Box<dyn FnOnce(Next, &Lifecycle) -> Next>;

impl TestStage {
    /// Over this app.
    pub fn over<F, Fut>(self, app: F) -> TestStack
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let app = service_fn(move |request| {
            let answer = app(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        self.over_next(Next::new("app.test", app))
    }

    /// Over an app that answers every request with this text.
    #[must_use]
    pub fn over_text(self, text: &'static str) -> TestStack {
        self.over(move |_| async move { Response::new(Body::from(text)) })
    }

    /// Over a stack.
    #[must_use]
    pub fn over_next(self, next: Next) -> TestStack {
        let lifecycle = Lifecycle::default();
        TestStack { next: (self.put)(next, &lifecycle), lifecycle }
    }
}

/// A response whose body has been read.
#[derive(Debug)]
pub struct TestResponse {
    response: Response,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl TestResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header as text; `""` where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The response without its body, for its extensions.
    #[must_use]
    pub const fn head(&self) -> &Response {
        &self.response
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text, replacing what is no UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The trailers, where the body had any.
    #[must_use]
    pub const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// A request as the server would hand it to a stack: `Host: test`, and a client at 192.0.2.1.
///
/// # Panics
///
/// If `target` is no request target.
pub fn request(method: Method, target: &str, body: impl Into<Body>) -> Request {
    let mut request = match http::Request::builder().method(method).uri(target).header("host", "test").body(body.into()) {
        Ok(request) => request,
        Err(error) => panic!("`{target}`: {error}"),
    };
    request.extensions_mut().insert(Origin {
        client: Some([192, 0, 2, 1].into()),
        client_port: Some(40_000),
        scheme: Scheme::Http,
        server_port: None,
        local: Some(([192, 0, 2, 80], 80).into()),
        is_vetted: false,
    });
    request
}

fn build<M: Middleware>(options: &str, inner: Next, lifecycle: &Lifecycle) -> Result<Next, Vec<String>> {
    let value = serde_json::from_str(options).map_err(|error| vec![error.to_string()])?;
    let layer = M::read(spelled_out(value, M::SHORTHAND)).map_err(|error| vec![error.to_string()])?;
    let mut findings = Findings::default();
    layer.validate(&mut findings);
    let findings: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let place = format!("layers[0].{}", M::NAME);
    let context = Context::new(place.as_str(), base, lifecycle.clone());
    let stage = layer.layer(&context).map_err(|finding: Finding| vec![finding.to_string()])?;
    Ok(stage.stage(&place, inner))
}
