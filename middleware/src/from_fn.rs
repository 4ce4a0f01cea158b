//! A layer from an async function, without a `Service`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::{Next, Problem, Request, Response};

/// A layer that runs `function` with a clone of `state`, the request and the rest of the stack.
///
/// ```
/// use http::HeaderValue;
/// use ziggurat_middleware::{TestStack, from_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stamp = from_fn(HeaderValue::from_static("hello"), async |stamp, request, next| {
///     let mut response = next.run(request).await;
///     response.headers_mut().insert("x-stamp", stamp);
///     response
/// });
/// let response = TestStack::stage(stamp).over_text("body").get("/").await;
/// assert_eq!(response.headers()["x-stamp"], "hello");
/// # }
/// ```
///
/// The function may refuse a request with a [`Problem`], whose cause is then in the log:
///
/// ```
/// use http::StatusCode;
/// use ziggurat_middleware::{Next, Problem, Request, TestStack, from_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let closed = from_fn((), async |(), request: Request, next: Next| match request.uri().path() {
///     "/closed" => Err(Problem::new(StatusCode::FORBIDDEN).because("it is closed")),
///     _ => Ok(next.run(request).await),
/// });
/// let stack = TestStack::stage(closed).over_text("body");
/// assert_eq!((stack.get("/").await.status(), stack.get("/closed").await.status()), (StatusCode::OK, StatusCode::FORBIDDEN));
/// assert_eq!(stack.log(), ["WARN request=GET /closed place=test status=403 it is closed"]);
/// # }
/// ```
pub const fn from_fn<S, F, Fut>(state: S, function: F) -> FromFn<S, F>
where
    F: Fn(S, Request, Next) -> Fut,
    Fut: Future<Output: FnOutput> + Send + 'static,
{
    FromFn { state, function }
}

/// What a function of [`from_fn`] gives: a [`Response`], or a `Result` of one and a [`Problem`].
pub trait FnOutput {
    /// The response, or why there is none.
    ///
    /// # Errors
    ///
    /// The problem of a function that gives a `Result`.
    fn into_result(self) -> Result<Response, Problem>;
}

impl FnOutput for Response {
    fn into_result(self) -> Result<Response, Problem> {
        Ok(self)
    }
}

impl FnOutput for Result<Response, Problem> {
    fn into_result(self) -> Result<Response, Problem> {
        self
    }
}

/// The layer that [`from_fn`] gives.
#[derive(Clone, Debug)]
pub struct FromFn<S, F> {
    state: S,
    function: F,
}

impl<S: Clone, F: Clone> Layer<Next> for FromFn<S, F> {
    type Service = FromFnService<S, F>;

    fn layer(&self, inner: Next) -> Self::Service {
        FromFnService { state: self.state.clone(), function: self.function.clone(), inner }
    }
}

/// The service of [`FromFn`].
#[derive(Clone, Debug)]
pub struct FromFnService<S, F> {
    state: S,
    function: F,
    inner: Next,
}

impl<S, F, Fut> Service<Request> for FromFnService<S, F>
where
    S: Clone,
    F: Fn(S, Request, Next) -> Fut,
    Fut: Future<Output: FnOutput> + Send + 'static,
{
    type Response = Response;
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        // `next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = (self.function)(self.state.clone(), request, self.inner.clone());
        Box::pin(async move { answer.await.into_result() })
    }
}
