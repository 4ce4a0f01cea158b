//! Runs layers in memory, without sockets and Python.

mod exchange;
mod explain;
mod log;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::task::{Context as TaskContext, Poll, Waker};

use http::{Extensions, HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tower::service_fn;
use tracing::dispatcher;
use tracing::instrument::WithSubscriber;

pub use self::exchange::{TestRequest, TestResponse, request};
use self::log::Log;
use crate::timing::Timings;
use crate::{
    App, Body, Context, EarlyHints, Finding, Findings, IntoApp, IntoStage, Lifecycle, Middleware, Next, Options, Place, Request,
    RequestSummary, Response,
};

/// A stack under test: layers with their options as in a pipeline file, over an app that is a closure.
///
/// ```
/// use ziggurat_middleware::TestStack;
/// use ziggurat_middleware::headers::Headers;
/// use ziggurat_middleware::request_id::AssignRequestId;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = TestStack::of::<AssignRequestId>("{}") // outermost
///     .then::<Headers>(r#"{"response": {"set": {"x-stamp": "hello"}}}"#)
///     .over_text("body");
/// let response = stack.get("/").header("accept", "text/plain").await;
/// assert_eq!(response.headers()["x-stamp"], "hello");
/// assert_eq!(response.text(), "body");
/// # }
/// ```
///
/// [`TestStack::log`] and [`TestStack::metrics`] give what the stack logs and measures. Everything runs on the runtime of the test, so tokio's paused time works:
///
/// ```
/// use ziggurat_middleware::TestStack;
/// use ziggurat_middleware::timeout::Timeout;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let stack = TestStack::of::<Timeout>(r#""1h""#).over(async |_| std::future::pending().await);
/// assert_eq!(stack.get("/").await.status(), 504); // at once
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestStack {
    next: Next,
    lifecycle: Lifecycle,
    log: Log,
}

impl TestStack {
    /// A stack with the outermost layer `M`, with options as in the file.
    ///
    /// # Panics
    ///
    /// When the app is added, if the options are refused. To test that, use [`TestStack::refusal`].
    #[must_use]
    pub fn of<M: Middleware>(options: &str) -> TestStage {
        TestStage::default().then::<M>(options)
    }

    /// A stack whose outermost layer is not a [`Middleware`], for instance a [`crate::from_fn`].
    pub fn stage(stage: impl IntoStage + 'static) -> TestStage {
        TestStage::default().then_stage(stage)
    }

    /// The app `A` with these options, without layers.
    ///
    /// # Panics
    ///
    /// If the options are refused.
    #[must_use]
    pub fn app<A: App>(options: &str) -> Self {
        let built = Self::new(Lifecycle::default(), |lifecycle| {
            let place = Place::new(A::NAME);
            let app = read::<A>(options, A::SHORTHAND, A::validate)?;
            Ok(app.app(&context(&place, lifecycle)).map_err(one)?.into_next(&place))
        });
        built.unwrap_or_else(|findings: Vec<String>| refused(A::NAME, options, &findings))
    }

    /// The stack that `build` gives. Its layers register their hooks with the lifecycle.
    ///
    /// # Errors
    ///
    /// The error of `build`.
    pub fn new<E>(lifecycle: Lifecycle, build: impl FnOnce(&Lifecycle) -> Result<Next, E>) -> Result<Self, E> {
        let log = Log::new();
        let next = dispatcher::with_default(&log.dispatch, || build(&lifecycle))?;
        Ok(Self { next, lifecycle, log })
    }

    /// Why the layer `M` refuses these options.
    ///
    /// # Panics
    ///
    /// If it accepts them.
    #[must_use]
    pub fn refusal<M: Middleware>(options: &str) -> Vec<String> {
        let inner = Next::new("app", service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty()))));
        match build::<M>(options, &Place::new(M::NAME), inner, &Lifecycle::default()) {
            Ok(_) => panic!("`{}` takes {options}", M::NAME),
            Err(findings) => findings,
        }
    }

    /// A GET request.
    pub fn get(&self, target: &str) -> TestRequest<'_> {
        self.request(Method::GET, target, Body::empty())
    }

    /// A POST request.
    pub fn post(&self, target: &str, body: impl Into<Body>) -> TestRequest<'_> {
        self.request(Method::POST, target, body)
    }

    /// A request as [`request`] makes it.
    ///
    /// # Panics
    ///
    /// If `target` is not a request target.
    pub fn request(&self, method: Method, target: &str, body: impl Into<Body>) -> TestRequest<'_> {
        TestRequest { stack: self, request: request(method, target, body) }
    }

    /// Sends a request, and reads the whole response. [`request`] makes requests.
    ///
    /// # Panics
    ///
    /// If the response body fails. [`TestStack::call`] does not read it.
    pub async fn send(&self, request: Request) -> TestResponse {
        let (response, summary) = self.run(request).await;
        let hints = summary.early_hints().map(sent).unwrap_or_default();
        let (parts, body) = response.into_parts();
        match body.collect().with_subscriber(self.log.dispatch.clone()).await {
            Ok(body) => {
                let trailers = body.trailers().cloned();
                TestResponse { response: Response::from_parts(parts, Body::empty()), body: body.to_bytes(), trailers, hints }
            }
            Err(error) => panic!("the response body failed: {error}"),
        }
    }

    /// Sends a request, and does not read the response body.
    pub async fn call(&self, request: Request) -> Response {
        self.run(request).await.0
    }

    async fn run(&self, mut request: Request) -> (Response, RequestSummary) {
        // A server in front of the stack has made one.
        let summary = RequestSummary::of(request.extensions()).cloned().unwrap_or_else(|| {
            let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
            summary.allow_early_hints();
            summary
        });
        request.extensions_mut().insert(summary.clone());
        (self.next.clone().run(request).with_subscriber(self.log.dispatch.clone()).await, summary)
    }

    /// What the stack has logged so far, at the default level: `WARN user=ada too many requests`. Tasks that were not started with [`Context::spawn`] are not
    /// included.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The metrics of the layers and the app, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.lifecycle.scrape().to_string()
    }

    /// Ends the background tasks of the layers and the app, then runs their shutdown hooks.
    pub async fn shutdown(&self) {
        self.lifecycle.retire().with_subscriber(self.log.dispatch.clone()).await;
        dispatcher::with_default(&self.log.dispatch, || self.lifecycle.shutdown());
    }

    /// The lifecycle, for other hooks: [`Lifecycle::reopen`], [`Lifecycle::status`].
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }
}

/// Layers under test that have no app yet.
#[derive(Default)]
pub struct TestStage {
    /// Outermost first, each with its name.
    layers: Vec<(&'static str, AddLayer)>,
    host: Extensions,
    is_timed: bool,
    slow: Option<std::time::Duration>,
}

/// Puts a layer over the rest of the stack.
type AddLayer = Box<dyn FnOnce(Next, &Place, &Lifecycle) -> Next>;

impl TestStage {
    /// Adds the layer `M` below the others.
    #[must_use]
    pub fn then<M: Middleware>(mut self, options: &str) -> Self {
        let options = options.to_owned();
        let add: AddLayer = Box::new(move |inner, place, lifecycle| match build::<M>(&options, place, inner, lifecycle) {
            Ok(next) => next,
            Err(findings) => refused(M::NAME, &options, &findings),
        });
        self.layers.push((M::NAME, add));
        self
    }

    /// Adds a layer below the others that is not a [`Middleware`].
    #[must_use]
    pub fn then_stage(mut self, stage: impl IntoStage + 'static) -> Self {
        self.layers.push(("test", Box::new(|inner, place, _| stage.stage(place, inner))));
        self
    }

    /// Adds a fact about the program, for [`Context::host`], for instance a [`Client`](crate::Client).
    #[must_use]
    pub fn host<T: Clone + Send + Sync + 'static>(mut self, fact: T) -> Self {
        self.host.insert(fact);
        self
    }

    /// Measures the self times of the layers, as `server.timing` does.
    #[must_use]
    pub const fn timed(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// Logs requests whose response takes longer than this to begin, as `server.slow` does.
    #[must_use]
    pub const fn slow(mut self, after: std::time::Duration) -> Self {
        self.slow = Some(after);
        self.timed()
    }

    /// Adds the app, a closure. A panic in it, for instance of an assertion, becomes a response with 500, as in any app.
    pub fn over<F, Fut>(self, app: F) -> TestStack
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let app = service_fn(move |request| {
            let answer = app(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        self.over_app(|place| Next::new(place, app))
    }

    /// Adds an app that answers every request with this text.
    #[must_use]
    pub fn over_text(self, text: &'static str) -> TestStack {
        self.over(move |_| async move { Response::new(Body::from(text)) })
    }

    /// Adds a stack as the app.
    #[must_use]
    pub fn over_next(self, next: Next) -> TestStack {
        self.over_app(|_| next)
    }

    fn over_app(self, app: impl FnOnce(&Place) -> Next) -> TestStack {
        // As in a pipeline file, a second layer of one name above the first has a number.
        let mut counts = HashMap::<_, usize>::new();
        let layers = self.layers.into_iter().rev().map(|(name, add)| {
            let count = counts.entry(name).or_default();
            *count += 1;
            (if *count == 1 { Place::new(name) } else { Place::new(format!("{name}#{count}")) }, add)
        });
        let layers: Vec<_> = layers.collect();
        let built = TestStack::new(Lifecycle::hosted(self.host), |lifecycle| {
            let places = layers.iter().rev().map(|(place, _)| place.clone()).chain([Place::new("app")]);
            let timings = if self.is_timed { Timings::new(places, |place| context(place, lifecycle)) } else { Timings::default() };
            let stack = layers
                .into_iter()
                .fold(app(&timings.place(&"app".into())), |inner, (place, add)| add(inner, &timings.place(&place), lifecycle));
            Ok::<_, Infallible>(if self.is_timed {
                timings.over(stack, self.slow, &context(&"server.timing".into(), lifecycle))
            } else {
                stack
            })
        });
        match built {
            Ok(stack) => stack,
            Err(never) => match never {},
        }
    }
}

/// The hints that wait to be sent.
fn sent(hints: &EarlyHints) -> Vec<HeaderMap> {
    let mut cx = TaskContext::from_waker(Waker::noop());
    std::iter::from_fn(|| match hints.poll_next(&mut cx) {
        Poll::Ready(hint) => Some(hint),
        Poll::Pending => None,
    })
    .collect()
}

fn build<M: Middleware>(options: &str, place: &Place, inner: Next, lifecycle: &Lifecycle) -> Result<Next, Vec<String>> {
    let layer = read::<M>(options, M::SHORTHAND, M::validate)?;
    Ok(layer.layer(&context(place, lifecycle)).map_err(one)?.stage(place, inner))
}

fn read<T: Options>(options: &str, shorthand: Option<&'static str>, validate: fn(&T, &mut Findings)) -> Result<T, Vec<String>> {
    let value: Value = serde_json::from_str(options).map_err(|error| vec![error.to_string()])?;
    let read = T::read(without_shorthand(value, shorthand)).map_err(|error| vec![error.to_string()])?;
    let mut findings = Findings::default();
    validate(&read, &mut findings);
    if findings.is_empty() { Ok(read) } else { Err(findings.into_iter().map(|finding| finding.to_string()).collect()) }
}

/// The options object that a value stands for, as in a pipeline file.
fn without_shorthand(value: Value, shorthand: Option<&'static str>) -> Value {
    match (value, shorthand) {
        (Value::Null, _) => Value::Object(Map::new()),
        (value @ Value::Object(_), _) | (value, None) => value,
        (value, Some(option)) => Value::Object(Map::from_iter([(option.to_owned(), value)])),
    }
}

fn context(place: &Place, lifecycle: &Lifecycle) -> Context {
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    Context::new(place, base, lifecycle.clone())
}

fn refused(name: &str, options: &str, findings: &[String]) -> ! {
    panic!("`{name}` refuses {options}: {}", findings.join("; "))
}

fn one(finding: Finding) -> Vec<String> {
    vec![finding.to_string()]
}
