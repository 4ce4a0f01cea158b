//! The rest of a stack, and the one place where the types of layers are erased.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use crate::{Body, BoxError, Problem, Request, RequestId, Response};

/// The rest of the stack below a layer, down to the app: a service that always answers.
///
/// It clones cheaply enough for one clone per connection or per request, is built once, and takes requests with any body, so
/// that layers which wrap the body plug in as they are.
#[derive(Clone)]
pub struct Next(BoxCloneSyncService<Request, Response, Infallible>);

impl Next {
    /// Erases a service. Its errors and panics become responses here, so that every outer layer sees a response to every request.
    ///
    /// `name` is the layer's or app's place, for the log.
    pub fn new<S, B>(name: &str, service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
        B: HttpBody + Send + 'static,
        B::Data: Into<Bytes> + Buf,
        B::Error: Into<BoxError>,
    {
        Self(BoxCloneSyncService::new(Absorb { inner: service, name: name.into() }))
    }

    /// Sends a request down the stack.
    pub async fn run(self, request: Request) -> Response {
        match self.0.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl<B> Service<http::Request<B>> for Next
where
    B: HttpBody + Send + 'static,
    B::Data: Into<Bytes> + Buf,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.0.call(request.map(Body::new))
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Next")
    }
}

/// What becomes a stage of a stack: any tower `Layer` whose service takes a [`Request`] and gives a response.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a stack",
    note = "a stage is a tower `Layer<Next>` whose service is `Clone + Send + Sync + 'static`, takes `Request`, \
            and whose error converts into a boxed error"
)]
pub trait IntoStage {
    /// Puts this stage over `inner`.
    fn stage(self, name: &str, inner: Next) -> Next;
}

impl<L, B> IntoStage for L
where
    L: Layer<Next>,
    L::Service: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Error: Into<BoxError> + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Into<Bytes> + Buf,
    B::Error: Into<BoxError>,
{
    fn stage(self, name: &str, inner: Next) -> Next {
        Next::new(name, self.layer(inner))
    }
}

/// What can stand at the bottom of a stack: any service that takes a [`Request`] and gives a response.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand at the bottom of a stack",
    note = "an app is a tower `Service<Request>` that is `Clone + Send + Sync + 'static`, \
            and whose error converts into a boxed error"
)]
pub trait IntoApp {
    /// Erases the service.
    fn into_next(self, name: &str) -> Next;
}

impl<S, B> IntoApp for S
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Into<Bytes> + Buf,
    B::Error: Into<BoxError>,
{
    fn into_next(self, name: &str) -> Next {
        Next::new(name, self)
    }
}

/// Absorbs what differs between services: body type, error type, panics.
#[derive(Clone)]
struct Absorb<S> {
    inner: S,
    name: Arc<str>,
}

impl<S, B> Service<Request> for Absorb<S>
where
    S: Service<Request, Response = http::Response<B>>,
    S::Error: Into<BoxError> + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Into<Bytes> + Buf,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Absorbed<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A service that fails to become ready fails again in `call`, where there is a request to answer.
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) | Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = request.extensions().get::<RequestId>().cloned();
        let name = Arc::clone(&self.name);
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => Absorbed { state: State::Polling { future }, name, id, error: std::marker::PhantomData },
            Err(panic) => Absorbed { state: State::Panicked { panic: Some(panic) }, name, id, error: std::marker::PhantomData },
        }
    }
}

pin_project! {
    /// Future of [`Absorb`].
    struct Absorbed<F, E> {
        #[pin]
        state: State<F>,
        name: Arc<str>,
        id: Option<RequestId>,
        error: std::marker::PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Polling { #[pin] future: F },
        Panicked { panic: Option<Box<dyn Any + Send>> },
    }
}

impl<F, B, E> Future for Absorbed<F, E>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    E: Into<BoxError> + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Into<Bytes> + Buf,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let problem = match this.state.project() {
            StateProjection::Polling { future } => match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(response))) => return Poll::Ready(Ok(response.map(Body::new))),
                Ok(Poll::Ready(Err(error))) => problem_of(error.into()),
                Err(panic) => panicked(&*panic),
            },
            StateProjection::Panicked { panic } => match panic.take() {
                Some(panic) => panicked(&*panic),
                None => Problem::internal("polled after completion"),
            },
        };
        Poll::Ready(Ok(answer(problem, this.name, this.id.as_ref())))
    }
}

/// A [`Problem`] answers as it says; any other error is a 500 whose cause the log keeps.
fn problem_of(error: BoxError) -> Problem {
    match error.downcast::<Problem>() {
        Ok(problem) => *problem,
        Err(error) => Problem::internal(error),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Problem {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Problem::internal(format!("panicked: {text}"))
}

fn answer(problem: Problem, name: &str, id: Option<&RequestId>) -> Response {
    if let Some(cause) = std::error::Error::source(&problem) {
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            next = error.source();
        }
        tracing::error!(request_id = id.map(RequestId::as_str), layer = name, status = problem.status().as_u16(), "{chain}");
    }
    problem.into_response()
}
