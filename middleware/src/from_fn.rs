//! A layer from an async function, without a `Service`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::{Next, Request, Response};

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
pub const fn from_fn<S, F, Fut>(state: S, function: F) -> FromFn<S, F>
where
    F: Fn(S, Request, Next) -> Fut,
    Fut: Future<Output = Response> + Send + 'static,
{
    FromFn { state, function }
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
    Fut: Future<Output = Response> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // `next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = (self.function)(self.state.clone(), request, self.inner.clone());
        Box::pin(async move { Ok(answer.await) })
    }
}
