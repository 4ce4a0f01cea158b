//! A layer from two closures: one for the request, one for the response.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower::{Layer, Service};

use crate::{Next, Problem, Request, Response};

/// A layer that calls `down` with each request, and the closure that `down` returns with the response.
///
/// `down` may change the request, or refuse it with a [`Problem`]. Unlike [`crate::from_fn`] it cannot `await`, and it needs no allocation and no clone of the
/// rest of the stack.
///
/// ```
/// use http::header::{HeaderValue, VIA};
/// use ziggurat_middleware::{Request, Response, TestStack, around};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let via = around(|request: &mut Request| {
///     let version = request.version();
///     Ok(move |mut response: Response| {
///         response.headers_mut().insert(VIA, HeaderValue::from_static(if version == http::Version::HTTP_2 { "2 us" } else { "1.1 us" }));
///         response
///     })
/// });
/// let response = TestStack::stage(via).over_text("body").get("/").await;
/// assert_eq!(response.headers()[VIA], "1.1 us");
/// # }
/// ```
pub const fn around<D, U>(down: D) -> Around<D>
where
    D: Fn(&mut Request) -> Result<U, Problem> + Clone,
    U: FnOnce(Response) -> Response,
{
    Around { down }
}

/// The layer that [`around`] gives.
#[derive(Clone, Debug)]
pub struct Around<D> {
    down: D,
}

impl<D: Clone> Layer<Next> for Around<D> {
    type Service = AroundService<D>;

    fn layer(&self, inner: Next) -> Self::Service {
        AroundService { down: self.down.clone(), inner }
    }
}

/// The service of [`Around`].
#[derive(Clone, Debug)]
pub struct AroundService<D> {
    down: D,
    inner: Next,
}

impl<D, U> Service<Request> for AroundService<D>
where
    D: Fn(&mut Request) -> Result<U, Problem>,
    U: FnOnce(Response) -> Response + Unpin,
{
    type Response = Response;
    type Error = Problem;
    type Future = AroundFuture<U>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Service::<Request>::poll_ready(&mut self.inner, cx).map_err(|never| match never {})
    }

    fn call(&mut self, mut request: Request) -> AroundFuture<U> {
        AroundFuture(match (self.down)(&mut request) {
            Ok(up) => AroundState::Inner(self.inner.call(request), Some(up)),
            Err(problem) => AroundState::Refused(Some(problem)),
        })
    }
}

/// The future of [`AroundService`].
pub struct AroundFuture<U>(AroundState<U>);

enum AroundState<U> {
    Inner(<Next as Service<Request>>::Future, Option<U>),
    Refused(Option<Problem>),
}

impl<U: FnOnce(Response) -> Response + Unpin> Future for AroundFuture<U> {
    type Output = Result<Response, Problem>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let problem = match &mut self.0 {
            AroundState::Inner(inner, up) => match (ready!(inner.as_mut().poll(cx)), up.take()) {
                (Ok(response), Some(up)) => return Poll::Ready(Ok(up(response))),
                (Ok(response), None) => return Poll::Ready(Ok(response)),
                (Err(never), _) => match never {},
            },
            AroundState::Refused(problem) => problem.take(),
        };
        Poll::Ready(Err(problem.unwrap_or_else(|| Problem::internal("polled after completion"))))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::TestStack;

    #[tokio::test]
    async fn a_refused_request_never_reaches_the_app() {
        let refuse = around(|_: &mut Request| Err::<fn(Response) -> Response, _>(Problem::new(StatusCode::FORBIDDEN)));
        let response = TestStack::stage(refuse).over(async |_| panic!("reached")).get("/").await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn the_way_up_sees_what_a_panicking_app_is_answered_with() {
        let mark = around(|_: &mut Request| {
            Ok(|mut response: Response| {
                let seen = response.status().as_str().parse().unwrap();
                response.headers_mut().insert("x-seen", seen);
                response
            })
        });
        let response = TestStack::stage(mark).over(async |_| panic!("no")).get("/").await;
        assert_eq!(response.header("x-seen"), "500");
    }
}
