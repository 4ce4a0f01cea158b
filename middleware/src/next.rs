//! The rest of a stack, and the place where the types of layers are erased.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::{Layer, Service, ServiceExt};

use crate::panic::message;
use crate::refusals::Refusals;
use crate::request_context::RequestContext;
use crate::service::{AnyBody, IntoProblem, StackService};
use crate::trace::{OpenSpan, Trace};
use crate::{Body, Place, Problem, Request, RequestSummary, Response};

/// The rest of the stack below a layer, down to the app: a service that always responds.
///
/// It is built once. A clone is one counted reference, whatever the height of the stack. It takes requests with any body type, so that layers that wrap the body
/// fit. It is always ready: it waits for a service that is not ready when a request comes.
#[derive(Clone)]
pub struct Next(Arc<dyn Stage>);

/// The future of a [`Next`]. Its output is always `Ok`.
pub type NextFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// An erased service. Each request goes through a clone of its own, as tower's `call(&mut self)` requires. The clone ends at the [`Next`] inside it.
trait Stage: Send + Sync {
    fn call(&self, request: Request) -> NextFuture;

    fn place(&self) -> &Place;
}

impl Next {
    /// Erases a service. Its errors and panics become responses, so that every layer above sees a response to every request.
    ///
    /// `place` is that of the layer or app, for the log.
    pub fn new(place: impl Into<Place>, service: impl StackService) -> Self {
        Self(Arc::new(Absorb { inner: service, refusals: Arc::new(Refusals::new(place.into())) }))
    }

    /// Sends a request down the stack.
    pub async fn run(self, request: Request) -> Response {
        match self.send(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// The place of the first layer or app.
    pub(crate) fn place(&self) -> &Place {
        self.0.place()
    }

    /// As [`Next::run`], with a future that has a name and does not take the stack.
    pub fn send(&self, request: Request) -> NextFuture {
        self.0.call(request)
    }
}

impl<B: AnyBody> Service<http::Request<B>> for Next {
    type Response = Response;
    type Error = Infallible;
    type Future = NextFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> NextFuture {
        self.send(request.map(Body::new))
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Next")
    }
}

/// A layer of a stack: any tower `Layer` whose service takes a [`Request`] and gives a response.
///
/// Body and error types may differ, so layers of tower-http, and stacks of several, can be used as they are:
///
/// ```
/// use std::time::Duration;
///
/// use http::StatusCode;
/// use tower::ServiceBuilder;
/// use tower_http::limit::RequestBodyLimitLayer;
/// use tower_http::timeout::TimeoutLayer;
/// use ziggurat_middleware::{IntoStage, TestStack};
///
/// fn guard() -> impl IntoStage {
///     ServiceBuilder::new()
///         .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(30)))
///         .layer(RequestBodyLimitLayer::new(4096))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(TestStack::stage(guard()).over_text("the app").post("/", "text").await.text(), "the app");
/// # }
/// ```
///
/// A service that is not `Clone` needs `tower::buffer`, which passes it one request after another (feature `buffer` of the crate `tower`). The buffer is
/// bounded: when it is full, further requests wait.
///
/// ```
/// use std::convert::Infallible;
/// use std::task::{Context, Poll};
///
/// use tower::buffer::BufferLayer;
/// use tower::layer::layer_fn;
/// use tower::{Service, ServiceBuilder};
/// use ziggurat_middleware::{NextFuture, IntoStage, Next, Request, Response, TestStack};
///
/// /// Counts requests without a lock, and is not `Clone`.
/// struct Count {
///     inner: Next,
///     seen: u64,
/// }
///
/// impl Service<Request> for Count {
///     type Response = Response;
///     type Error = Infallible;
///     type Future = NextFuture;
///
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, mut request: Request) -> NextFuture {
///         self.seen += 1;
///         request.headers_mut().insert("x-nth", self.seen.into());
///         self.inner.send(request)
///     }
/// }
///
/// fn count() -> impl IntoStage {
///     ServiceBuilder::new().layer(BufferLayer::new(64)).layer(layer_fn(|inner| Count { inner, seen: 0 }))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # use ziggurat_middleware::Body;
/// let stack = TestStack::stage(count()).over(async |request| Response::new(Body::from(request.headers()["x-nth"].to_str().unwrap().to_owned())));
/// assert_eq!((stack.get("/").await.text(), stack.get("/").await.text()), ("1".to_owned(), "2".to_owned()));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a stack",
    note = "a stage is a tower `Layer<Next>` whose service is `Clone + Send + Sync + 'static`, takes `Request`, \
            and whose error converts into a boxed error",
    note = "a struct of options is no stage: return what it configures, for instance `around(...)`, `from_fn(...)` or a layer of tower"
)]
pub trait IntoStage {
    /// Puts the layer at `place` over `inner`.
    fn stage(self, place: &Place, inner: Next) -> Next;
}

impl<L> IntoStage for L
where
    L: Layer<Next, Service: StackService>,
{
    fn stage(self, place: &Place, inner: Next) -> Next {
        Next::new(place, self.layer(inner))
    }
}

/// An app at the bottom of a stack: any service that takes a [`Request`] and gives a response.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand at the bottom of a stack",
    note = "an app is a tower `Service<Request>` that is `Clone + Send + Sync + 'static`, \
            and whose error converts into a boxed error",
    note = "a struct of options is no app: return what it configures, for instance `service_fn(...)` or a router"
)]
pub trait IntoApp {
    /// The app at `place`.
    fn into_next(self, place: &Place) -> Next;
}

impl<S: StackService> IntoApp for S {
    fn into_next(self, place: &Place) -> Next {
        Next::new(place, self)
    }
}

/// Hides what differs between services: readiness, body type, error type, panics.
struct Absorb<S> {
    inner: S,
    refusals: Arc<Refusals>,
}

impl<S: StackService> Stage for Absorb<S> {
    fn call(&self, mut request: Request) -> NextFuture {
        let summary = RequestSummary::of(request.extensions()).cloned();
        let span = summary.as_ref().and_then(RequestSummary::trace).and_then(|_| Trace::enter(&mut request, self.refusals.place()));
        let refusals = Arc::clone(&self.refusals);
        let context = RequestContext::enter(summary, refusals.place());
        let mut service = self.inner.clone();
        let is_ready = catch_unwind(AssertUnwindSafe(|| service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()));
        let called = match is_ready {
            // A service that fails to become ready fails again in `call`, where there is a request to respond to.
            Ok(true) => catch_unwind(AssertUnwindSafe(|| service.call(request))),
            Ok(false) => {
                return absorbed(CallState::Polling { future: service.oneshot(request) }, refusals, context, span);
            }
            Err(panic) => Err(panic),
        };
        let state = called.map_or_else(|panic| CallState::Panicked { panic: Some(panic) }, |future| CallState::Polling { future });
        absorbed(state, refusals, context, span)
    }

    fn place(&self) -> &Place {
        self.refusals.place()
    }
}

fn absorbed<F, B, E>(state: CallState<F>, refusals: Arc<Refusals>, request: RequestContext, span: Option<OpenSpan>) -> NextFuture
where
    F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
    E: IntoProblem,
    B: AnyBody,
{
    Box::pin(Absorbed { state, refusals, request, span, error: std::marker::PhantomData })
}

pin_project! {
    /// Future of [`Absorb`].
    struct Absorbed<F, E> {
        #[pin]
        state: CallState<F>,
        refusals: Arc<Refusals>,
        // Dropped after the future, which stands before it: visits to places below end first.
        request: RequestContext,
        // Dropped after the future, which stands before it: the spans below end first.
        span: Option<OpenSpan>,
        error: std::marker::PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = CallStateProjection]
    enum CallState<F> {
        Polling { #[pin] future: F },
        Panicked { panic: Option<Box<dyn Any + Send>> },
    }
}

impl<F, B, E> Future for Absorbed<F, E>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    E: IntoProblem,
    B: AnyBody,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.state.project() {
            CallStateProjection::Polling { future } => match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => outcome.map_err(IntoProblem::into_problem),
                Err(panic) => Err(panicked(&*panic)),
            },
            CallStateProjection::Panicked { panic } => Err(match panic.take() {
                Some(panic) => panicked(&*panic),
                None => Problem::internal("polled after completion"),
            }),
        };
        let request = std::mem::replace(this.request, RequestContext::Unknown);
        if let Some(summary) = request.summary() {
            summary.answer(this.refusals.place());
        }
        let response = match outcome {
            Ok(response) => response.map(Body::new),
            Err(problem) => answer(problem, this.refusals, request.summary()),
        };
        if let Some(mut span) = this.span.take() {
            span.respond(response.status());
            if let RequestContext::Timed(visit) = &request
                && let Some(error) = visit.error()
            {
                span.fail(error.into_string());
            }
        }
        Poll::Ready(Ok(match request {
            RequestContext::Timed(mut visit) => {
                visit.respond(response.status());
                response.map(|body| body.timed(&mut visit))
            }
            _ => response,
        }))
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Problem {
    Problem::internal(format!("panicked: {}", message(panic)))
}

fn answer(problem: Problem, refusals: &Refusals, summary: Option<&RequestSummary>) -> Response {
    if let Some(cause) = std::error::Error::source(&problem) {
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            next = error.source();
        }
        refusals.log(problem.status(), summary, chain);
    }
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;

    fn request() -> Request {
        crate::request(http::Method::GET, "/", Body::empty())
    }

    fn app() -> Next {
        Next::new("app.test", service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::from("answer")))))
    }

    #[tokio::test]
    async fn a_service_that_is_not_ready_yet_is_waited_for() {
        let busy = Arc::new(tokio::sync::Semaphore::new(1));
        let limit = tower::limit::GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&busy));
        let next = limit.stage(&Place::new("limit"), app());
        let held = busy.acquire().await.unwrap();
        let mut waiting = tokio::spawn(next.run(request()));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it did not wait"),
            () = tokio::task::yield_now() => {}
        }
        drop(held);
        assert_eq!(waiting.await.unwrap().body().as_full(), Some(&b"answer"[..]));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_of_500() {
        let next = Next::new("app.test", service_fn(async |_: Request| -> Result<Response, Infallible> { panic!("on purpose") }));
        assert_eq!(next.clone().run(request()).await.status(), 500);
        assert_eq!(next.run(request()).await.status(), 500);
    }

    #[tokio::test]
    async fn an_error_is_the_answer_it_says() {
        let refuse = service_fn(async |_: Request| Err::<Response, _>(Problem::new(http::StatusCode::CONFLICT)));
        assert_eq!(Next::new("app.test", refuse).run(request()).await.status(), 409);
    }

    #[tokio::test]
    async fn the_innermost_one_that_answers_is_known() {
        let early = tower::layer::layer_fn(|inner: Next| {
            service_fn(move |request: Request| {
                let (is_early, inner) = (request.uri().path() == "/early", inner.clone());
                async move { if is_early { Err(Problem::new(http::StatusCode::FORBIDDEN)) } else { Ok(inner.run(request).await) } }
            })
        });
        let stack = early.stage(&Place::new("early"), app());
        for (path, place) in [("/", "app.test"), ("/early", "early")] {
            let mut request = crate::request(http::Method::GET, path, Body::empty());
            let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
            request.extensions_mut().insert(summary.clone());
            assert!(summary.answered_by().is_none());
            stack.clone().run(request).await;
            assert_eq!(summary.answered_by(), Some(&Place::new(place)));
        }
    }
}
